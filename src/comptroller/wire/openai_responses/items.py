"""What the items of an input hold beside text, and what they name that is not in the body.

Everything here errs to the dear side: an item that we do not know has no bound but the context window.

Sources: the OpenAI API reference; the openai SDK's types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.work.stored import CONTAINER, ITEM, Named
from comptroller.wire.body import is_array, is_object, json_name
from comptroller.wire.checks import Invalid
from comptroller.wire.openai_chat.contents import Contents


class Item(msgspec.Struct, frozen=True):
    """One kind of item. `plain`: texts, numbers and switches, whose bytes count. `words`: it stands for more."""

    plain: frozenset[str] = frozenset()
    parts: frozenset[str] = frozenset()  # a text, a part, or an array of parts
    words: str | None = None


def _item(*plain: str, parts: str | None = None, words: str | None = None) -> Item:
    return Item(frozenset(plain), frozenset({parts} if parts else ()), words)


# What they found is not in the item: it may be put into the context again.
_FOUND = "what an earlier search found"
_RUN = "what an earlier run of code left"
_REASONED = "stored reasoning"

ITEMS: Mapping[str, Item] = {
    "message": _item(parts="content"),
    "function_call": _item("arguments"),
    "function_call_output": _item(parts="output"),
    "custom_tool_call": _item("input"),
    "custom_tool_call_output": _item(parts="output"),
    "reasoning": _item("summary", "content", "encrypted_content"),
    "compaction": _item("encrypted_content"),
    "configuration_update": _item("reasoning", "text"),
    "additional_tools": _item("tools"),
    "tool_search_call": _item("arguments", "execution"),
    "tool_search_output": _item("tools", "execution"),
    "computer_call": _item("action", "actions", "pending_safety_checks"),
    "computer_call_output": _item("acknowledged_safety_checks", parts="output"),
    "local_shell_call": _item("action"),
    "local_shell_call_output": _item("output"),
    "shell_call": _item("action", "environment"),
    "shell_call_output": _item("output", "max_output_length"),
    "apply_patch_call": _item("operation"),
    "apply_patch_call_output": _item("output"),
    "mcp_list_tools": _item("tools", "server_label", "error"),
    "mcp_approval_request": _item("arguments", "server_label"),
    "mcp_approval_response": _item("approval_request_id", "approve", "reason"),
    "mcp_call": _item("arguments", "output", "error", "server_label", "approval_request_id"),
    "program": _item("code", "fingerprint"),
    "program_output": _item("result"),
    "web_search_call": _item("action", words=_FOUND),
    "file_search_call": _item("queries", "results", words=_FOUND),
    "code_interpreter_call": _item("code", "container_id", "outputs", words=_RUN),
    "image_generation_call": _item("result", "revised_prompt", "action", "background", "quality", "size"),
}
REFERENCE = "item_reference"
COMPACT_NOW = "compaction_trigger"

_FRAME = frozenset({"type", "id", "status", "call_id", "name", "namespace", "caller", "role", "phase"})
_OWN_TOOLS = frozenset({"additional_tools", "tool_search_output"})  # definitions that stand in the input
_KEYS = _FRAME.union(*(each.plain | each.parts for each in ITEMS.values()))

# Answers of models come back in the next request: nobody fetches what their annotations name.
_TEXTS = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"})
_TEXT_KEYS = frozenset({"type", "text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint"})


class Items(Contents):
    """What was found, beside what any content can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: list[object] = []  # definitions that stand in the input
        self.named: list[Named] = []  # what is stored at the provider, beside files
        self.compacts = False

    def read_items(self, items: Sequence[object], where: str) -> None:
        """Look through every item. Raises Invalid for one that is none."""
        for place, item in enumerate(items):
            if not is_object(item):
                name = f"{where}[{place}]"
                raise Invalid(f"`{name}` must be an object, and it is a JSON {json_name(item)}.", name)
            self._read(item, f"{where}[{place}]")

    def _read(self, item: Mapping[str, object], where: str) -> None:
        self.read_cache_marks(item)
        kind = item.get("type")
        if kind is None:
            kind = "message" if "role" in item or "content" in item else REFERENCE
        known = ITEMS.get(kind) if isinstance(kind, str) else None
        if known is not None:
            self._known(kind, known, item, where)
        elif kind == REFERENCE:
            self.named.append(Named(_text(item.get("id")), ITEM, where))
        elif kind == COMPACT_NOW:
            self.compacts = True
        else:
            self.add("an item of a type that is not known here")
            self.read_part(item)

    def _known(self, kind: object, known: Item, item: Mapping[str, object], where: str) -> None:
        if known.words is not None:
            self.add(known.words)
        for key, value in item.items():
            if key in known.parts:
                self._content(value)
            elif key not in known.plain and key not in _FRAME:
                if key not in _KEYS and key.casefold() in _KEYS:
                    self.misspelt = key
                self.read_unknown(value)
        if kind in _OWN_TOOLS:
            tools = item.get("tools")
            self.tools += tools if is_array(tools) else ()
        elif kind == "reasoning" and not item.get("encrypted_content") and not item.get("content"):
            self._looked_up(item, where, _REASONED)
        elif kind == "image_generation_call":
            self._drawn(item, where)
        elif kind == "code_interpreter_call" and item.get("container_id") is not None:
            # Code that runs later runs where this did.
            self.named.append(Named(_text(item["container_id"]), CONTAINER, where, context=False))

    def _content(self, content: object) -> None:
        for part in content if is_array(content) else (content,):
            if is_object(part) and part.get("type") in _TEXTS and part.keys() <= _TEXT_KEYS:
                self.read_cache_marks(part)
            else:
                self.read_part(part)

    def _drawn(self, item: Mapping[str, object], where: str) -> None:
        """An image of an earlier answer: its data, or nothing where the provider keeps it."""
        self.images += 1
        result = item.get("result")
        if isinstance(result, str):
            self.image_bytes += len(result)  # characters: never more than its bytes in the body
        else:
            self._looked_up(item, where, "an image from elsewhere")

    def _looked_up(self, item: Mapping[str, object], where: str, words: str) -> None:
        """An item that the provider has to look up by its id, if it has one."""
        if item.get("id") is None:
            self.add(words)
        else:
            self.named.append(Named(_text(item["id"]), ITEM, where))


def _text(named: object) -> str:
    """An id; what is none names nothing that anybody has."""
    return named if isinstance(named, str) else ""
