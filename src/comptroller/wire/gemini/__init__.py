"""The Gemini API, and every server that speaks it."""

from comptroller.wire.gemini.answer import Answer as Answer
from comptroller.wire.gemini.answer import read_answer as read_answer
from comptroller.wire.gemini.counting import CountRequest as CountRequest
from comptroller.wire.gemini.dialect import CALLS as CALLS
from comptroller.wire.gemini.dialect import REFUSING as REFUSING
from comptroller.wire.gemini.dialect import REQUEST_HEADERS as REQUEST_HEADERS
from comptroller.wire.gemini.dialect import RESPONSE_HEADERS as RESPONSE_HEADERS
from comptroller.wire.gemini.dialect import VERSIONS as VERSIONS
from comptroller.wire.gemini.dialect import GeminiCountTokens as GeminiCountTokens
from comptroller.wire.gemini.dialect import GeminiEmbed as GeminiEmbed
from comptroller.wire.gemini.dialect import GeminiGenerate as GeminiGenerate
from comptroller.wire.gemini.embeddings import EmbedRequest as EmbedRequest
from comptroller.wire.gemini.refusals import refusal_body as refusal_body
from comptroller.wire.gemini.refusals import refusal_event as refusal_event
from comptroller.wire.gemini.request import GenerateRequest as GenerateRequest
from comptroller.wire.gemini.request import read_request as read_request
from comptroller.wire.gemini.request import rewrite as rewrite
from comptroller.wire.gemini.stream import StreamMeter as StreamMeter
from comptroller.wire.gemini.usage import read_usage as read_usage
