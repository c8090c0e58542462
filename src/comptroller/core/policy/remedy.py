"""Remedies: what turns a forbid into a yes, and in which order they are tried.

A denial is remedied only if every forbid that determines it carries a remedy that was not tried yet. They are
tried in the order of KINDS, each at most once; after each one the policies decide anew.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal, get_args

import msgspec

from comptroller.core.problem import Fault, did_you_mean

Kind = Literal["cap_input", "route", "approval"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_WRITTEN = re.compile(r"([a-z_]+):(\S+)", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,12}", re.ASCII)
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", re.ASCII)
_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+~-]{0,199}", re.ASCII)
_FORMS = 'Write "cap_input:8000", "route:MODEL_OR_CLASS" or "approval:ROLE".'


class Remedy(msgspec.Struct, frozen=True):
    """What would lift a forbid: `cap_input` tokens, `route` to a model or a class of them, `approval` of a role."""

    kind: Kind
    value: str

    @property
    def tokens(self) -> int:
        """The most input tokens of a `cap_input`."""
        return int(self.value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class Step(msgspec.Struct, frozen=True):
    """What to do next about a denial: one remedy, and the forbids that it is for."""

    remedy: Remedy
    policies: tuple[str, ...]


def parse_remedy(text: str) -> Remedy:
    """A remedy as it stands in an annotation. Raises Fault."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        raise Fault(f"{text!r} is not a remedy.", _FORMS)
    kind, value = match.groups()
    if kind == "cap_input":
        if _COUNT.fullmatch(value) is None or int(value) == 0:
            raise Fault(f"{value!r} is not a number of tokens.", 'Write "cap_input:8000".')
        return Remedy("cap_input", str(int(value)))
    if kind == "route":
        return Remedy("route", _word(value, _TARGET, "the name of a model or of a class"))
    if kind == "approval":
        return Remedy("approval", _word(value, _ROLE, "the name of a role"))
    raise Fault(f"There is no remedy {kind!r}.", did_you_mean(kind, KINDS))


def choose(remedies: Sequence[tuple[str, Remedy | None]], taken: Collection[Kind]) -> Step | None:
    """The next remedy to try; None if the denial stands.

    `remedies`: the determining forbids in the order of their files, each with its remedy. `taken`: the kinds
    that were tried before.
    """
    left = [(policy, remedy) for policy, remedy in remedies if remedy is not None and remedy.kind not in taken]
    if not left or len(left) < len(remedies):
        return None
    kind = min((remedy.kind for _, remedy in left), key=KINDS.index)
    alike = [(policy, remedy) for policy, remedy in left if remedy.kind == kind]
    if kind == "cap_input":
        chosen = min((remedy for _, remedy in alike), key=lambda remedy: remedy.tokens)
        return Step(chosen, tuple(policy for policy, _ in alike))  # the smallest cap lifts them all
    chosen = alike[0][1]
    return Step(chosen, tuple(policy for policy, remedy in alike if remedy == chosen))


def _word(value: str, form: re.Pattern[str], what: str) -> str:
    if form.fullmatch(value) is None:
        raise Fault(f"{value!r} is not {what}.", _FORMS)
    return value
