"""Anthropic Messages, and every server that speaks it."""

from comptroller.wire.anthropic_messages.answer import Answer as Answer
from comptroller.wire.anthropic_messages.answer import read_answer as read_answer
from comptroller.wire.anthropic_messages.count import AnthropicCountTokens as AnthropicCountTokens
from comptroller.wire.anthropic_messages.dialect import QUERY_PARAMETERS as QUERY_PARAMETERS
from comptroller.wire.anthropic_messages.dialect import REQUEST_HEADERS as REQUEST_HEADERS
from comptroller.wire.anthropic_messages.dialect import RESPONSE_HEADERS as RESPONSE_HEADERS
from comptroller.wire.anthropic_messages.dialect import AnthropicMessages as AnthropicMessages
from comptroller.wire.anthropic_messages.refusals import refusal_body as refusal_body
from comptroller.wire.anthropic_messages.refusals import refusal_event as refusal_event
from comptroller.wire.anthropic_messages.request import MessagesRequest as MessagesRequest
from comptroller.wire.anthropic_messages.request import read_request as read_request
from comptroller.wire.anthropic_messages.request import rewrite as rewrite
from comptroller.wire.anthropic_messages.stream import StreamMeter as StreamMeter
from comptroller.wire.anthropic_messages.usage import Iteration as Iteration
from comptroller.wire.anthropic_messages.usage import Reported as Reported
from comptroller.wire.anthropic_messages.usage import read_usage as read_usage
