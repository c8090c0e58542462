"""The surfaces of the data plane: which dialect is spoken on which path. Whatever can cost money stands here."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.work.stored import BATCH, FILE, Kind
from comptroller.flow.dialect import Deferring, Dialect
from comptroller.gateway.routes import Api
from comptroller.wire import anthropic_files, gemini, model_lists
from comptroller.wire.anthropic_messages import AnthropicCountTokens, AnthropicMessages
from comptroller.wire.anthropic_messages.batch_calls import BATCH_CALLS as MESSAGE_BATCH_CALLS
from comptroller.wire.anthropic_messages.batch_calls import AnthropicBatches
from comptroller.wire.anthropic_messages.batch_reports import MESSAGE_BATCH_DEFERRAL
from comptroller.wire.gemini.batch_calls import BATCH_CALLS as GEMINI_BATCH_CALLS
from comptroller.wire.gemini.batch_calls import GeminiBatches
from comptroller.wire.gemini.batch_reports import GEMINI_BATCH_DEFERRAL
from comptroller.wire.object_lists import anthropic_list, gemini_list, openai_list
from comptroller.wire.openai_audio import OpenAISpeech, OpenAITranscription
from comptroller.wire.openai_batches.calls import BATCH_CALLS as OPENAI_BATCH_CALLS
from comptroller.wire.openai_batches.calls import OpenAIBatches
from comptroller.wire.openai_batches.reports import OPENAI_BATCH_DEFERRAL
from comptroller.wire.openai_chat import OpenAIChat
from comptroller.wire.openai_completions import OpenAICompletions
from comptroller.wire.openai_conversations import CONVERSATION_CALLS
from comptroller.wire.openai_embeddings import OpenAIEmbeddings
from comptroller.wire.openai_files import FILE_CALLS
from comptroller.wire.openai_images import OpenAIImages
from comptroller.wire.openai_moderations import OpenAIModerations
from comptroller.wire.openai_responses import STORED_CALLS, BackgroundResponses, OpenAIResponses

_OPENAI: Mapping[str, Dialect] = {
    "/v1/chat/completions": OpenAIChat(),
    "/v1/responses": OpenAIResponses(),
    "/v1/completions": OpenAICompletions(),
    "/v1/embeddings": OpenAIEmbeddings(),
    "/v1/moderations": OpenAIModerations(),
    "/v1/images/generations": OpenAIImages("generations"),
    "/v1/images/edits": OpenAIImages("edits"),
    "/v1/images/variations": OpenAIImages("variations"),
    "/v1/audio/speech": OpenAISpeech(),
    "/v1/audio/transcriptions": OpenAITranscription("transcriptions"),
    "/v1/audio/translations": OpenAITranscription("translations"),
}
_ANTHROPIC: Mapping[str, Dialect] = {
    "/v1/messages": AnthropicMessages(),
    "/v1/messages/count_tokens": AnthropicCountTokens(),
    **MESSAGE_BATCH_CALLS,
}

_FAMILIES: Mapping[str, Mapping[str, Dialect]] = {
    "openai": {**_OPENAI, **STORED_CALLS, **FILE_CALLS, **CONVERSATION_CALLS, **OPENAI_BATCH_CALLS},
    "anthropic": {**_ANTHROPIC, **anthropic_files.FILE_CALLS},
    "gemini": {**gemini.CALLS, **GEMINI_BATCH_CALLS},
}

# What a provider may go on with after its answer, by the name of the dialect of that answer.
DEFERRING: Mapping[str, Deferring] = {
    OpenAIResponses.name: BackgroundResponses(),
    OpenAIBatches.name: OPENAI_BATCH_DEFERRAL,
    AnthropicBatches.name: MESSAGE_BATCH_DEFERRAL,
    GeminiBatches.name: GEMINI_BATCH_DEFERRAL,
}

# Each path as it is, and under the prefix that says plainly whose it is; with the method before it where that is not
# POST alone. What several have is as it is the first one's.
CALLS: Mapping[str, Dialect] = {
    call.replace("/", f"{prefix}/", 1): dialect
    for family, calls in reversed(list(_FAMILIES.items()))
    for prefix in ("", f"/{family}")
    for call, dialect in calls.items()
}
SHARED = ("/v1/batches", "/v1/files")  # what begins so is of the first API, unless a request says that it is of another
_LISTS: Mapping[str, Mapping[str, Kind]] = {
    "openai": {"/v1/files": FILE, "/v1/batches": BATCH},
    "anthropic": {"/v1/messages/batches": BATCH, "/v1/files": FILE},
    "gemini": {"/v1/batches": BATCH, "/v1beta/batches": BATCH},
}
LISTS: Mapping[str, Kind] = {
    f"{prefix}{path}": kind
    for family, kinds in _LISTS.items()
    for prefix in ("", f"/{family}")
    for path, kind in kinds.items()
}
APIS = (
    Api(
        "openai",
        ("/openai/", "/v1/chat/", *_OPENAI),
        None,
        _OPENAI["/v1/chat/completions"],
        model_lists.openai_page,
        model_lists.openai_entry,
        object_page=openai_list,
    ),
    Api(
        "anthropic",
        ("/anthropic/", "/v1/messages"),
        b"anthropic-version",
        _ANTHROPIC["/v1/messages"],
        model_lists.anthropic_page,
        model_lists.anthropic_entry,
        object_page=anthropic_list,
    ),
    Api(
        "gemini",
        ("/gemini/", "/v1beta/"),
        b"x-goog-",
        gemini.REFUSING,
        model_lists.gemini_page,
        model_lists.gemini_entry,
        object_page=gemini_list,
        versions=gemini.VERSIONS,
        key_in_query=True,
    ),
)
