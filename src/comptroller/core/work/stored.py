"""What providers keep for us, and whose it is: an object belongs to its maker.

A provider knows our key and not who stands behind it, so whatever is made with one key could be read and deleted by
everybody who calls with it. Who made what is therefore on our records, and only the maker may use it: the same
identity, or a session of the same tree of sessions, and on behalf of the same tenant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from comptroller.core.instant import DAY_NS
from comptroller.core.refusal import Refusal

Kind = Literal["response", "item", "file", "batch", "conversation", "container", "vector_store", "cached_content"]
RESPONSE: Kind = "response"
ITEM: Kind = "item"  # of a response: it has no record of its own
FILE: Kind = "file"
BATCH: Kind = "batch"
CONVERSATION: Kind = "conversation"
CONTAINER: Kind = "container"
VECTOR_STORE: Kind = "vector_store"
CACHED_CONTENT: Kind = "cached_content"
LASTS_DAYS = 30  # providers let go of a stored response by then (OpenAI's API reference, `store`)
WORDS: Mapping[Kind, str] = {
    "response": "stored response",
    "item": "item of a stored response",
    "file": "file",
    "batch": "batch",
    "conversation": "conversation",
    "container": "container",
    "vector_store": "vector store",
    "cached_content": "cached content",
}

# Dialects of requests that are about objects alone and name no model: policies call them by these names.
WITHOUT_MODEL = frozenset({"openai_files", "openai_conversations", "anthropic_files"})

# An id goes into the path of a request upstream. The ids that OpenAI and compatible servers give are of this form.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


class Named(msgspec.Struct, frozen=True, gc=False):
    """An object that a request names."""

    id: str
    kind: Kind
    param: str | None = None  # the field that names it; None: the path does
    context: bool = True  # what it holds becomes a part of the prompt


class StoredUse(msgspec.Struct, frozen=True, gc=False):
    """What a request has to do with what is stored at its provider."""

    named: tuple[Named, ...] = ()  # all that it uses
    keeps: Kind | None = None  # the provider keeps what it makes under the id that it gives it
    deletes: bool = False  # the (only) named object is gone afterwards
    size_bytes: int | None = None  # of a file that it makes
    endpoint: str = ""  # that the lines of a file are for, where it makes a batch of one
    tokens: int | None = None  # no more than this are in that file, whatever model reads it; None: nobody knows


def uses(named: Iterable[Named], param: str, keeps: Kind | None = None) -> StoredUse | None:
    """What a request has to do with these, which stand in one of its fields; None for nothing."""
    found = tuple(
        dict.fromkeys(
            each if each.param is not None else Named(each.id, each.kind, param, each.context) for each in named
        )
    )
    return StoredUse(found, keeps) if found or keeps is not None else None


class Earlier(msgspec.Struct, frozen=True, gc=False):
    """A stored context that a request goes on with: which model made it, and how many tokens it is at the most."""

    model: str  # '' where tokens do not depend on it
    tokens: int | None  # None: nobody knows
    words: str = WORDS[RESPONSE]

    def bounds(self, model: str) -> bool:
        """Whether it says how many tokens this model will read."""
        return self.tokens is not None and self.model in {"", model}


class StoredObject(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One object at a provider, and its maker. Instants are nanoseconds since the epoch."""

    id: str  # the provider's
    kind: Kind
    provider: str
    model: str  # that it was asked of, as the registry serves it; '' where none was named
    identity: str  # '' when the same id was given twice: it is nobody's
    session: str
    root: str  # the session at the top of its tree
    tenant: str  # '' for none
    call_id: str  # that made it
    created_at_ns: int
    tokens: int | None = None  # no more than this are stored; None: nobody knows
    deleted_at_ns: int | None = None
    api: str = "openai"  # the family of APIs that it was made through, and is used through
    size_bytes: int | None = None  # of a file
    expires_at_ns: int | None = None  # the provider lets go of it then; None: it has not said so
    told: str = ""  # what the provider said of it when it was made: JSON, for lists; empty where there are none
    bounds: str = ""  # what a batch of this file can come to at the most: its lines as JSON; empty: not a batch's
    items: str = ""  # the ids of what a response came to, with spaces between them: a request may name one alone

    def belongs_to(self, identity: str, root: str, tenant: str) -> bool:
        """Whether a session of this identity, in this tree and for this tenant, may use it."""
        return bool(self.identity) and (identity == self.identity or root == self.root) and tenant == self.tenant

    def is_over(self, now_ns: int) -> bool:
        """Whether its provider has let go of it by now."""
        if self.expires_at_ns is not None and now_ns >= self.expires_at_ns:
            return True
        return self.kind == RESPONSE and now_ns - self.created_at_ns >= LASTS_DAYS * DAY_NS


def is_id(text: str) -> bool:
    """Whether this is an id that can be recorded and sent in a path."""
    return _ID.fullmatch(text) is not None


def not_yours(named: Named) -> Refusal:
    """The same for what nobody made and for what somebody else did: nobody learns from it which ids there are."""
    words = WORDS[named.kind]
    hint = "Only the identity that made it can use it, or a session of the same tree of sessions."
    if named.param is None:
        return Refusal(
            code="object_not_found",
            sentence=f"The caller has no {words} under this id.",
            hint=hint,
            param="id",
        )
    way_on = " Or send what it holds in `input`." if named.kind in {RESPONSE, ITEM, CONVERSATION} else ""
    return Refusal(
        code="object_unknown",
        sentence=f"`{named.param}` names no {words} of the caller's.",
        hint=f"{hint}{way_on}",
        param=named.param,
    )


def busy(use: StoredUse) -> Refusal:
    """Of what is not done yet: what it costs could not be seen any more."""
    return Refusal(
        code="object_busy",
        sentence="The provider still works on this, and its cost is not known before that ends.",
        hint="Cancel it, or wait until it has ended; then it can be deleted.",
        param=use.named[0].param or "id",
    )
