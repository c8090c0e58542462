"""The fields of a Responses request that matter for money, as tables.

`SERVER_SIDE`: what makes a provider read, run or ask something that the body does not hold.
`OTHER_NAMES`: fields by which some servers take what we write under its usual name; both at once would let
a caller override the output limit that was paid for.

Sources: the OpenAI API reference; the openai SDK's types; what compatible servers are known to read.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.body import is_array, is_object
from comptroller.wire.field_names import FieldNames, ServerSide
from comptroller.wire.openai_chat.fields import SERVER_SIDE as RESELLERS

COMPACTION = "a compaction"
PRO = "reasoning in another mode than the standard one"

# Stored at the provider: request.py reads what they name.
STORED = ("previous_response_id", "conversation", "prompt")

# The switches of resellers and of other servers are the same as those of Chat Completions.
SERVER_SIDE: Mapping[str, ServerSide] = {name: each for name, each in RESELLERS.items() if name not in STORED}

OTHER_NAMES: Mapping[str, str] = {
    "max_tokens": "max_output_tokens",  # servers that turn this API into Chat Completions take its names, too
    "max_completion_tokens": "max_output_tokens",
    "max_new_tokens": "max_output_tokens",
    "max_length": "max_output_tokens",
    "max_gen_toks": "max_output_tokens",
    "n_predict": "max_output_tokens",  # llama.cpp: stands above the others
    "num_predict": "max_output_tokens",
}

# Such servers may make several answers; this API makes one.
MORE_ANSWERS = frozenset({"n", "best_of", "n_cmpl"})

# Fields that request.py reads itself, and those that hold text, numbers or switches and never lead out of the body.
_PLAIN = frozenset(
    {
        *("model", "input", "instructions", "stream", "max_output_tokens", "max_tool_calls", "tools", "service_tier"),
        *("background", "context_management", "reasoning", "prompt_cache_options", *STORED),
        *("access_programs", "background_options", "client_metadata", "image", "include", "metadata", "moderation"),
        *("parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "store"),
        *("stream_options", "temperature", "text", "tool_choice", "top_logprobs", "top_p", "truncation", "user"),
    }
)
FIELDS = FieldNames(_PLAIN, SERVER_SIDE, OTHER_NAMES, MORE_ANSWERS)


def compacts(context_management: object) -> bool:
    """Whether the provider may summarize the context: its prompt is its own, and no limit is known to hold for it."""
    return context_management is not None and not (is_array(context_management) and not context_management)


def is_pro(reasoning: object) -> bool:
    """Whether the model may try several times at once: then the output limit is not known to hold for all of it."""
    return is_object(reasoning) and reasoning.get("mode") not in (None, "standard")
