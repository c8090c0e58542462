"""What providers keep for us, and whose it is: an object belongs to its maker.

A provider knows our key and not who stands behind it, so whatever is made with one key could be read and deleted by
everybody who calls with it. Who made what is therefore on our records, and only the maker may use it: the same
identity, or a session of the same tree of sessions, and on behalf of the same tenant.
"""

from __future__ import annotations

import re

import msgspec

from comptroller.core.refusal import Refusal

LASTS_DAYS = 30  # providers let go of a stored response by then (OpenAI's API reference, `store`)

# An id goes into the path of a request upstream. The ids that OpenAI and compatible servers give are of this form.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,199}")


class StoredUse(msgspec.Struct, frozen=True, gc=False):
    """What a request has to do with what is stored at its provider."""

    named: str | None = None  # the id of an object that it uses
    param: str | None = None  # the field that names it; None: the path does
    keeps: bool = False  # the provider keeps the answer under the id that it gives it
    deletes: bool = False  # the named object is gone afterwards


class Earlier(msgspec.Struct, frozen=True, gc=False):
    """A stored context that a request goes on with: which model made it, and how many tokens it is at the most."""

    model: str
    tokens: int | None  # None: nobody knows


class StoredObject(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One object at a provider, and its maker. Instants are nanoseconds since the epoch."""

    id: str  # the provider's
    kind: str  # response
    provider: str
    model: str  # that it was asked of, as the registry serves it
    identity: str  # '' when the same id was given twice: it is nobody's
    session: str
    root: str  # the session at the top of its tree
    tenant: str  # '' for none
    call_id: str  # that made it
    created_at_ns: int
    tokens: int | None = None  # no more than this are stored; None: nobody knows
    deleted_at_ns: int | None = None

    def belongs_to(self, identity: str, root: str, tenant: str) -> bool:
        """Whether a session of this identity, in this tree and for this tenant, may use it."""
        return bool(self.identity) and (identity == self.identity or root == self.root) and tenant == self.tenant


def is_id(text: str) -> bool:
    """Whether this is an id that can be recorded and sent in a path."""
    return _ID.fullmatch(text) is not None


def not_yours(use: StoredUse) -> Refusal:
    """The same for what nobody made and for what somebody else did: nobody learns from it which ids there are."""
    hint = "Only the identity that made a response can use it, or a session of the same tree of sessions."
    if use.param is None:
        return Refusal(
            code="object_not_found",
            sentence="The caller has no stored response under this id.",
            hint=hint,
            param="id",
        )
    return Refusal(
        code="object_unknown",
        sentence=f"`{use.param}` names no stored response of the caller's.",
        hint=f"{hint} Or send the whole conversation in `input`.",
        param=use.param,
    )


def busy(use: StoredUse) -> Refusal:
    """Of what is not done yet: what it costs could not be seen any more."""
    return Refusal(
        code="object_busy",
        sentence="The provider still works on this, and its cost is not known before that ends.",
        hint="Cancel it, or wait until it has ended; then it can be deleted.",
        param=use.param or "id",
    )
