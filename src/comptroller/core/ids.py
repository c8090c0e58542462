"""Ids: what they look like and how they are made from an instant and random bits given by the caller."""

from __future__ import annotations

import re

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base32: no letter that reads as a digit
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)  # ten bits each
_SHIFTS = tuple(range(120, -1, -10))
_RANDOM_BITS = 74
_CHARACTERS = 26

_IDENTITY = re.compile(r"[a-z]+(?:/[A-Za-z0-9._~-]{1,64}){1,8}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", re.ASCII)
_TRUST_DOMAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}", re.ASCII)


def make_id(prefix: str, instant_ns: int, entropy: int) -> str:
    """`prefix_` and 26 characters that sort by time: 48 bits of milliseconds, then 74 random bits (as UUIDv7)."""
    value = ((instant_ns // 1_000_000) & ((1 << 48) - 1)) << _RANDOM_BITS | entropy & ((1 << _RANDOM_BITS) - 1)
    return f"{prefix}_{''.join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])}"


def made_at_ns(name: str) -> int | None:
    """The instant in an id, cut to milliseconds; None for what is no id."""
    _, _, characters = name.rpartition("_")
    if len(characters) != _CHARACTERS or not set(characters) <= set(_ALPHABET):
        return None
    value = 0
    for character in characters:
        value = value << 5 | _ALPHABET.index(character)
    return (value >> _RANDOM_BITS & ((1 << 48) - 1)) * 1_000_000


def attempt_id(call_id: str, number: int) -> str:
    """The id of one try upstream, also sent to the provider as its client request id."""
    return f"{call_id}.{number}"


def is_identity_id(text: str) -> bool:
    """True for `kind/name`, such as agent/scout: the path of a SPIFFE id."""
    return _IDENTITY.fullmatch(text) is not None and not any(part in {".", ".."} for part in text.split("/"))


def is_name(text: str) -> bool:
    """True for a name of a team, owner, provider or budget."""
    return _NAME.fullmatch(text) is not None


def is_trust_domain(text: str) -> bool:
    """True for a SPIFFE trust domain (SPIFFE-ID section 2.1)."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def spiffe_id(trust_domain: str, identity_id: str) -> str:
    """The SPIFFE id of an identity of this organization."""
    return f"spiffe://{trust_domain}/{identity_id}"
