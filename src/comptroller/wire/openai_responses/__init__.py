"""OpenAI Responses, and every server that speaks it."""

from comptroller.wire.openai_responses.answer import Answer as Answer
from comptroller.wire.openai_responses.answer import read_answer as read_answer
from comptroller.wire.openai_responses.background import BackgroundResponses as BackgroundResponses
from comptroller.wire.openai_responses.dialect import OpenAIResponses as OpenAIResponses
from comptroller.wire.openai_responses.request import ResponsesRequest as ResponsesRequest
from comptroller.wire.openai_responses.request import read_request as read_request
from comptroller.wire.openai_responses.request import rewrite as rewrite
from comptroller.wire.openai_responses.stored_calls import STORED_CALLS as STORED_CALLS
from comptroller.wire.openai_responses.stored_calls import OpenAIStoredResponses as OpenAIStoredResponses
from comptroller.wire.openai_responses.stream import StreamMeter as StreamMeter
from comptroller.wire.openai_responses.usage import read_usage as read_usage
