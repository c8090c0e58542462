"""Lists of objects, from our own records, in the shapes of the APIs that have them.

What a provider lists is everything behind our key. A caller is shown what is theirs, page by page as the API has it.

Sources: the OpenAI, Anthropic and Gemini API references.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.body import invalid

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(dict[str, Any])
_FILTERS = ("purpose",)  # parameters that choose by a field of the same name
_MOST = 10_000
_MOST_ANTHROPIC = 1_000
_PAGE = "page_"
_DIGITS = 6


class Told(Protocol):
    """An object, and what its provider said of it."""

    @property
    def id(self) -> str: ...
    @property
    def told(self) -> str: ...


def openai_list(objects: Sequence[Told], query: bytes) -> bytes | Refusal:
    """One page of a list of OpenAI. `objects`: the oldest first; the list begins with the youngest.

    `request_invalid`: a limit or an order that the API does not have, or `after` what is not in the list.
    """
    asked = _read(query)
    limit = _limit(asked.get("limit"))
    if limit is None:
        return invalid(f"`limit` must be a whole number from 1 to {_MOST}.", "", "limit")
    order = asked.get("order", "desc")
    if order not in {"asc", "desc"}:
        return invalid("`order` must be asc or desc.", "", "order")
    ordered = list(objects) if order == "asc" else list(objects)[::-1]
    after = asked.get("after")
    if after is not None:
        ids = [each.id for each in ordered]
        if after not in ids:
            return invalid("`after` names nothing that is in this list.", "Take `last_id` of the page before.", "after")
        ordered = ordered[ids.index(after) + 1 :]
    chosen = [each for each in ordered if _is_chosen(each, asked)]
    page = chosen[:limit]
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {"first_id": None, "last_id": None}
    return _ENCODER.encode({"object": "list", "data": _all_told(page), **ends, "has_more": len(chosen) > limit})


def gemini_list(objects: Sequence[Told], query: bytes) -> bytes | Refusal:
    """One page of a list of operations of the Gemini API, the youngest first.

    `request_invalid`: a size that the API does not have, or a token that is none of this list.
    """
    asked = _read(query)
    limit = _limit(asked.get("pageSize", asked.get("page_size")))
    if limit is None:
        return invalid(f"`pageSize` must be a whole number from 1 to {_MOST}.", "", "pageSize")
    every = list(objects)[::-1]
    token, begin = asked.get("pageToken", asked.get("page_token")), 0
    if token:
        ids = [each.id for each in every]
        if token not in ids:
            return invalid("`pageToken` is none of this list.", "Take `nextPageToken` of the page before.", "pageToken")
        begin = ids.index(token) + 1
    page = every[begin : begin + limit]
    more = {"nextPageToken": page[-1].id} if len(every) > begin + limit else {}
    return _ENCODER.encode({"operations": _all_told(page), **more})


def _all_told(page: Sequence[Told]) -> list[msgspec.Raw]:
    return [msgspec.Raw(each.told.encode()) for each in page]


def anthropic_list(objects: Sequence[Told], query: bytes) -> bytes | Refusal:
    """One page of a list of Anthropic. `objects`: the oldest first; the list begins with the youngest.

    `request_invalid`: a limit that the API does not have, or an id that is not in the list.
    """
    asked = _read(query)
    limit = _limit(asked.get("limit", "20"))
    if limit is None or limit > _MOST_ANTHROPIC:
        return invalid(f"`limit` must be a whole number from 1 to {_MOST_ANTHROPIC}.", "", "limit")
    wanted = parse_qs(query.decode("latin-1"))
    named = {*wanted.get("ids", []), *wanted.get("ids[]", [])}
    ordered = [each for each in objects if not named or each.id in named][::-1]
    ids = [each.id for each in ordered]
    if "page" in asked:
        asked = {**asked, "after_id": asked["page"].removeprefix(_PAGE)}
    for name in ("after_id", "before_id"):
        if name in asked and asked[name] not in ids:
            return invalid(f"`{name}` names nothing that is in this list.", "Take an id of the page before.", name)
    begin = ids.index(asked["after_id"]) + 1 if "after_id" in asked else 0
    end = len(ids)
    if "before_id" in asked:
        end = ids.index(asked["before_id"])
        begin = max(begin, end - limit)
    page = ordered[begin : min(end, begin + limit)]
    more = begin > 0 if "before_id" in asked else begin + limit < end
    ends = {"first_id": page[0].id, "last_id": page[-1].id} if page else {"first_id": None, "last_id": None}
    following = f"{_PAGE}{page[-1].id}" if page and more and "before_id" not in asked else None
    return _ENCODER.encode({"data": _all_told(page), "has_more": more, **ends, "next_page": following})


def _read(query: bytes) -> Mapping[str, str]:
    """The parameters, the last of each name."""
    return {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}


def _limit(text: str | None) -> int | None:
    if text is None:
        return _MOST
    if not (text.isascii() and text.isdigit() and len(text) < _DIGITS) or not 1 <= int(text) <= _MOST:
        return None
    return int(text)


def _is_chosen(each: Told, asked: Mapping[str, str]) -> bool:
    wanted = {name: asked[name] for name in _FILTERS if name in asked}
    if not wanted:
        return True
    said = _DECODER.decode(each.told)
    return all(said.get(name) == value for name, value in wanted.items())
