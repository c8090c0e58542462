"""The fields of a Messages request that matter for money, as tables.

`SERVER_SIDE`: what makes a provider read, run or ask something that the body does not hold.
`OTHER_NAMES`: fields by which some servers take what we write under its usual name; both at once would let
a caller override the output limit that was paid for.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.wire.body import is_array, is_object
from comptroller.wire.checks import Invalid
from comptroller.wire.field_names import FieldNames, ServerSide

COMPACTION = "a compaction"
_OTHER_MODEL = "another model than the one named"

SERVER_SIDE: Mapping[str, ServerSide] = {
    "mcp_servers": ServerSide("MCP servers called by the provider", "every round reads the context again", fees=True),
    "container": ServerSide("a container", "billed by time; its files are input", fees=True),
    "compaction": ServerSide(COMPACTION, "its prompt and its output are the provider's", fees=True),
    "fallbacks": ServerSide(_OTHER_MODEL, "tried in turn, each at its own price and with its own limit", fees=True),
    "models": ServerSide(_OTHER_MODEL, "OpenRouter: fallback models at their own prices", fees=True),
    "preset": ServerSide(_OTHER_MODEL, "OpenRouter: model, prompt and tools stored at the provider", fees=True),
    "provider": ServerSide("a choice of upstreams", "OpenRouter: each has its own prices", fees=True),
    "route": ServerSide("a choice of upstreams", "OpenRouter: fallbacks at their own prices", fees=True),
    "plugins": ServerSide("plugins", "OpenRouter: web search, PDF reading", fees=True),
    "chat_template": ServerSide("a prompt template", "vLLM, SGLang: can repeat the messages at will", fees=False),
}

OTHER_NAMES: Mapping[str, str] = {
    "max_tokens_to_sample": "max_tokens",  # the API before Messages
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "max_gen_toks": "max_tokens",
    "n_predict": "max_tokens",  # llama.cpp: stands above max_tokens
    "num_predict": "max_tokens",
}

# Servers that translate Messages into another API may make several answers; this API makes one.
MORE_ANSWERS = frozenset({"n", "best_of", "n_cmpl"})

# Fields that request.py reads itself, and those that hold text, numbers or switches and never lead out of the body.
_PLAIN = frozenset(
    {
        *("model", "messages", "system", "stream", "max_tokens", "thinking", "tools", "cache_control"),
        *("service_tier", "speed", "inference_geo", "context_management", "thread", "billing_policy"),
        *("metadata", "stop_sequences", "temperature", "top_p", "top_k", "tool_choice", "output_config"),
        *("output_format", "diagnostics", "fallback_credit_token"),
    }
)
FIELDS = FieldNames(_PLAIN, SERVER_SIDE, OTHER_NAMES, MORE_ANSWERS)


def compacts(context_management: object) -> bool:
    """Whether the context is edited by more than leaving things out: a compaction is a call of its own."""
    if context_management is None:
        return False
    if not is_object(context_management) or not context_management.keys() <= {"edits"}:
        return True
    edits = context_management.get("edits")
    if edits is None:
        return False
    return not is_array(edits) or not all(is_object(edit) and _only_clears(edit.get("type")) for edit in edits)


def continues(thread: object) -> bool:
    """Whether earlier turns that the provider keeps are input."""
    return thread is not None and thread != {"type": "create"}


def check_who_pays(request: Mapping[str, object]) -> None:
    """Raise Invalid for a request that chooses whose account pays, which the gateway alone does."""
    policy = request.get("billing_policy")
    if policy is not None and (not is_object(policy) or policy.get("bill_to") not in (None, "self")):
        raise Invalid("`billing_policy` may only bill `self`: the gateway alone selects accounts.", "billing_policy")


def _only_clears(kind: object) -> bool:
    return isinstance(kind, str) and kind.startswith(("clear_tool_uses_", "clear_thinking_"))
