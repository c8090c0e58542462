"""A session: one bounded run of one agent, with a credential, clients, children, and an outcome at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack
from urllib.parse import urlencode

from comptroller.client import sdk
from comptroller.client.credential import Credential, Issued
from comptroller.client.gateway import ALLOWANCE, SESSIONS, Gateway, GatewayUnreachable
from comptroller.client.refused import Refused

if TYPE_CHECKING:
    from anthropic import Anthropic, AsyncAnthropic
    from google.genai import Client as Gemini
    from openai import AsyncOpenAI, OpenAI

Outcome = Literal["succeeded", "failed", "abandoned"]
_OVER = {"session_ended", "credential_expired"}


class Bounds(TypedDict, total=False):
    """How much a session may do. What is left out is as its parent, profile and kind have it."""

    usd: str
    """Decimal, such as "0.50"."""
    tokens: int
    thinking_tokens: int
    model_calls: int
    tool_calls: int
    wall_clock_s: int
    idle_s: int
    depth: int
    fan_out: int


class Work(TypedDict, total=False):
    """What a session is for, and how much less it may do than it otherwise could (docs/sessions.md)."""

    identity: str
    """Of a child: one of the registry, which must agree (`may_act`, or `actor_token`). Left out: its parent's."""
    actor_token: str
    profile: str
    subject: str
    tenant: str
    task_type: str
    task: str
    workflow: str
    bounds: Bounds
    reserve: bool
    """Of a child: set `bounds["usd"]` aside for it, so that nobody spends it before."""
    models: Sequence[str]
    """Names, with * and ?."""
    tools: Sequence[str]
    lifetime_s: int
    """Of one credential. It is renewed as long as the session goes on."""


class Session:
    """Opens on entering a block (`with` or `async with`), and says on leaving how it came out.

    `succeeded`; `failed` if an error left the block; `abandoned` if it was cancelled or interrupted.
    """

    def __init__(
        self, gateway: Gateway, issue: Callable[[], Issued], renew: Callable[[str], Issued] | None, *, ours: bool
    ) -> None:
        self._gateway = gateway
        self._issue = issue
        self._renew = renew  # given its id; None: it has one credential
        self._ours = ours  # else whoever handed the credential out closes its session
        self._credential: Credential | None = None
        self._closed = False

    # Its life.

    def open(self) -> Self:
        """Open it without a block. Raises Refused, GatewayUnreachable."""
        issued, renew = self._issue(), self._renew
        self._credential = Credential(issued, None if renew is None else lambda: renew(issued.session))
        return self

    def close(self, outcome: Outcome = "succeeded", reason: str = "done") -> None:
        """Say how it came out. Its credentials end, and all that is open below it; what is over stays as it ended."""
        self._closed = True
        try:
            credential = self._open.get()
            self._gateway.ask("POST", f"{SESSIONS}/self/close", credential, {"outcome": outcome, "reason": reason})
        except Refused as no:
            if no.code not in _OVER:
                raise

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._ours or self._closed:
            return
        outcome, reason = _said(error)
        try:
            self.close(outcome, reason)
        except (Refused, GatewayUnreachable) as no:
            if error is None:
                raise
            error.add_note(f"And the session could not be closed: {no}")  # what happened first is what matters

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        # Shielded: who is cancelled while closing has still said so.
        await asyncio.shield(asyncio.to_thread(self.__exit__, kind, error, at))

    # What it is.

    @property
    def id(self) -> str:
        return self._open.issued.session

    @property
    def name(self) -> str:
        """Who acts in it: `agent/scout`, or for its sub-agent `agent/scout/~researcher`."""
        return self._open.issued.name

    def credential(self) -> str:
        """A credential that works: the API key for any SDK, or COMPTROLLER_CREDENTIAL for another process."""
        return self._open.get()

    def show(self) -> Mapping[str, Any]:
        """How it stands: state, bounds, what was spent in it and below it, ... (docs/reference/api.md)."""
        return self._gateway.ask("GET", f"{SESSIONS}/self", self.credential())

    def allowance(
        self, model: str | None = None, *, input_tokens: int = 0, max_output_tokens: int | None = None
    ) -> Mapping[str, Any]:
        """What may be spent right now, and what would become of a call to `model` (docs/allowance.md)."""
        plan = {"model": model, "input_tokens": input_tokens, "max_output_tokens": max_output_tokens}
        query = urlencode({name: value for name, value in plan.items() if value is not None})
        return self._gateway.ask("GET", f"{ALLOWANCE}?{query}", self.credential())

    # What is done in it.

    def child(self, name: str | None = None, **work: Unpack[Work]) -> Session:
        """A session for a sub-agent, with its own credential and never more than this one has. It opens on entering.

        `name`: what a sub-agent that is in no registry is called; small letters, digits and -.
        """
        sent = {key: value for key, value in {"name": name, **work}.items() if value is not None}

        def issue() -> Issued:
            return Issued.of(self._gateway.ask("POST", SESSIONS, self.credential(), sent))

        def renew(session: str) -> Issued:
            lifetime = {key: sent[key] for key in ("lifetime_s",) if key in sent}
            return Issued.of(self._gateway.ask("POST", f"{SESSIONS}/{session}/credential", self.credential(), lifetime))

        return Session(self._gateway, issue, renew, ours=True)

    def openai(self, **options: Any) -> OpenAI:
        """A client of the package `openai`. `options` are its own."""
        return sdk.openai(self._gateway.url, self._open, options)

    def async_openai(self, **options: Any) -> AsyncOpenAI:
        """The same, for `await`."""
        return sdk.async_openai(self._gateway.url, self._open, options)

    def anthropic(self, **options: Any) -> Anthropic:
        """A client of the package `anthropic`. `options` are its own."""
        return sdk.anthropic(self._gateway.url, self._open, options)

    def async_anthropic(self, **options: Any) -> AsyncAnthropic:
        """The same, for `await`."""
        return sdk.async_anthropic(self._gateway.url, self._open, options)

    def gemini(self, **options: Any) -> Gemini:
        """A client of the package `google-genai`; its `aio` is for `await`. `options` are those of its HttpOptions."""
        return sdk.gemini(self._gateway.url, self._open, options)

    @property
    def _open(self) -> Credential:
        if self._credential is None:
            raise RuntimeError("The session is not open yet: enter it with `with` or `async with`, or call open().")
        return self._credential


def _said(error: BaseException | None) -> tuple[Outcome, str]:
    """How a block came out. Only the error's kind is told: its words may be the caller's own."""
    if error is None:
        return "succeeded", "done"
    return ("failed" if isinstance(error, Exception) else "abandoned"), type(error).__name__
