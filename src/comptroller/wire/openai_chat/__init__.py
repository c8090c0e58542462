"""OpenAI Chat Completions, and every server that speaks it."""

from comptroller.wire.openai_chat.answer import Answer as Answer
from comptroller.wire.openai_chat.answer import read_answer as read_answer
from comptroller.wire.openai_chat.dialect import REQUEST_HEADERS as REQUEST_HEADERS
from comptroller.wire.openai_chat.dialect import RESPONSE_HEADERS as RESPONSE_HEADERS
from comptroller.wire.openai_chat.dialect import OpenAIChat as OpenAIChat
from comptroller.wire.openai_chat.refusals import refusal_body as refusal_body
from comptroller.wire.openai_chat.refusals import refusal_event as refusal_event
from comptroller.wire.openai_chat.request import ChatRequest as ChatRequest
from comptroller.wire.openai_chat.request import read_request as read_request
from comptroller.wire.openai_chat.request import rewrite as rewrite
from comptroller.wire.openai_chat.stream import StreamMeter as StreamMeter
from comptroller.wire.openai_chat.usage import read_usage as read_usage
