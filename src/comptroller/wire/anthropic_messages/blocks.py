"""The content blocks of a Messages request, as a table: what in each of them may lead out of the body.

Source: the parameter types of the anthropic SDK, stable and beta, and the API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Block(msgspec.Struct, frozen=True):
    """One kind. Keys in neither set are looked through as unknown ones are.

    `plain`: holds text, names or an echo of an earlier answer, and nobody fetches what it may name.
    `nested`: holds blocks. `words`: what has no bound about it; `fee`: it is billed beside tokens.
    `special`: contents.py has a rule of its own for it.
    """

    plain: frozenset[str] = frozenset()
    nested: frozenset[str] = frozenset()
    words: str | None = None
    fee: bool = False
    special: bool = False


def _block(
    plain: str = "", nested: str = "", *, words: str | None = None, fee: bool = False, special: bool = False
) -> Block:
    return Block(frozenset({"type", *plain.split()}), frozenset(nested.split()), words, fee, special)


BLOCKS: Mapping[str, Block] = {
    "text": _block("text citations"),
    "thinking": _block("thinking signature"),
    "redacted_thinking": _block("data"),
    "image": _block("source transformations", special=True),
    "document": _block("source title context citations", special=True),
    "search_result": _block("source title citations", "content"),
    "tool_use": _block("id name input caller toolset_name", special=True),
    "server_tool_use": _block("id name input caller", special=True),
    "mcp_tool_use": _block("id name input server_name", special=True),
    "tool_result": _block("tool_use_id is_error toolset_name", "content"),
    "mcp_tool_result": _block("tool_use_id is_error", "content"),
    "web_search_tool_result": _block("tool_use_id content caller"),
    "web_fetch_tool_result": _block("tool_use_id caller", "content"),
    "web_fetch_result": _block("url retrieved_at", "content"),
    "code_execution_tool_result": _block("tool_use_id content"),
    "bash_code_execution_tool_result": _block("tool_use_id content"),
    "text_editor_code_execution_tool_result": _block("tool_use_id content"),
    "advisor_tool_result": _block("tool_use_id content"),
    "tool_search_tool_result": _block("tool_use_id", "content"),
    "tool_search_tool_search_result": _block("", "tool_references"),
    "tool_reference": _block("tool_name name", special=True),
    "tool_addition": _block("", "tool"),
    "tool_definition": _block("definition", special=True),
    "tool_removal": _block("tool"),
    "mcp_tool_listing": _block("mcp_server_name tools"),
    "compaction": _block("content encrypted_content signature", "tool_changes"),
    "fallback": _block("from to trigger"),
    "browser_state": _block("tabs state_changes"),
    "container_upload": _block("file_id", words="a file in a container", fee=True, special=True),
}

TEXT_KEYS = frozenset({"type", "text", "citations"})
IMAGE_KEYS = frozenset({"type", "source", "transformations", "cache_control"})

# What the `source` of an image or a document holds, by its type. A document of another type has no bound.
IMAGE_SOURCES: Mapping[str, frozenset[str]] = {
    "base64": frozenset({"type", "media_type", "data"}),
    "url": frozenset({"type", "url"}),
    "file": frozenset({"type", "file_id"}),
}
DOCUMENT_SOURCES: Mapping[str, frozenset[str]] = {
    "text": frozenset({"type", "media_type", "data"}),
    "content": frozenset({"type", "content"}),
    "file": frozenset({"type", "file_id"}),  # its size is what our records say
}

# Some parsers match keys without regard to case: they would take "Type" for "type".
WATCHED_KEYS = frozenset({"type", "source", "data", "file_id", "citations", "cache_control", "definition"}).union(
    *(block.nested for block in BLOCKS.values())
)
