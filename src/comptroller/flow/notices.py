"""The border to whoever tells people: whatever happens in a call or by an act of an operator says so here.

`control/notices.py` implements it where comptroller.toml has a `[[notify]]`. Saying something must not wait and must
not fail; no prompt and no secret is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

NOBODY: Mapping[str, str] = MappingProxyType({})


class Notices(Protocol):
    @property
    def heard(self) -> bool:
        """Whether anybody is told. Whoever would have to work for what it says looks here first."""
        ...

    def emit(
        self,
        name: str,
        subject: str,
        data: Mapping[str, object],
        about: Mapping[str, str] = NOBODY,
        *,
        once: str = "",
        until_ns: int | None = None,
    ) -> None:
        """Tell whoever wants to know, some time soon.

        `name`: of its kind (core/notice/event.py). `data`: what JSON can say, amounts as decimal strings. `about`: what
        filters look at, by attribute: identity, team, owner, environment, session, budget, provider, model.
        `once`: told only if nothing was told under this key before, over restarts too; the key may be forgotten after
        `until_ns`.
        """
        ...


class Unheard:
    """Implements `Notices` where nobody is to be told."""

    heard = False

    def emit(
        self,
        name: str,
        subject: str,
        data: Mapping[str, object],
        about: Mapping[str, str] = NOBODY,
        *,
        once: str = "",
        until_ns: int | None = None,
    ) -> None:
        """Nobody listens."""
