"""The request of a caller, over ASGI: credential slots, a bounded body, and whether they are still there."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from comptroller.core.refusal import Refusal
from comptroller.flow.gate import Clock, Limits
from comptroller.gateway.channel import Channel
from comptroller.gateway.proxies import Network, client_address
from comptroller.gateway.query import keys_in
from comptroller.wire.head import JSON, PLAIN, Head

_KEY_SLOTS = frozenset({b"x-api-key", b"x-goog-api-key", b"api-key"})
_SLOTS = _KEY_SLOTS | {b"authorization"}
# What Claude Code, Codex and opencode call their sessions by. Anybody may send one: it goes to the records alone.
_SESSION_MARKERS = (b"x-claude-code-session-id", b"session-id", b"x-session-id")
_LONGEST_HINT = 128
_LONGEST_NUMBER = 9  # digits
# What makes the same body mean something else.
_OF_THE_API = frozenset({b"anthropic-version", b"anthropic-beta", b"openai-beta"})
_GZIP = 16 + zlib.MAX_WBITS


class Bodies:
    """How many bytes of request bodies the process holds, over all calls in flight."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes

    def take(self, size: int) -> bool:
        """False if there is no room; then nothing was taken."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give_back(self, size: int) -> None:
        self._left += size


class Aim(NamedTuple):
    """What the route of a request says of it."""

    named: str = ""  # what its path names, where the route has a name in it
    key_in_query: bool = False  # a credential may stand there


NO_AIM = Aim()


class AsgiRequest:
    """Implements flow.door.CallerRequest."""

    def __init__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        channel: Channel,
        clock: Clock,
        limits: Limits,
        bodies: Bodies,
        trusted: Sequence[Network],
        aim: Aim = NO_AIM,
    ) -> None:
        self._named, self._key_in_query = aim
        self._receive = receive
        self._channel = channel
        self._clock = clock
        self._limits = limits
        self._bodies = bodies
        self._taken = 0
        self.received_ns = 0
        self.headers: Sequence[tuple[bytes, bytes]] = tuple(scope["headers"])  # trailers come too late to count
        self.query: bytes = scope["query_string"]
        self.method: str = scope["method"]
        self._peer: tuple[str, int] | None = scope.get("client")
        self._trusted = trusted

    @property
    def head(self) -> Head:
        """What of its head its dialect reads."""
        kind = self._channel.named.get(b"content-type", b"")
        if _OF_THE_API.isdisjoint(self._channel.named):
            return PLAIN if kind == JSON and not self.query and not self._named else Head(self._named, self.query, kind)
        api = b"\n".join([name + b":" + value for name, value in self.headers if name in _OF_THE_API])
        return Head(self._named, self.query, kind, api)

    @property
    def address(self) -> str | None:
        """Where the caller is, as far as is known: see proxies.py."""
        return None if self._peer is None else client_address(self._peer[0], self.headers, self._trusted)

    @property
    def session_hint(self) -> str | None:
        """The caller's own session marker, as programs that we know send it."""
        named = self._channel.named
        for name in _SESSION_MARKERS:
            if name in named:
                hint = named[name].decode("latin-1")
                return hint if len(hint) <= _LONGEST_HINT and hint.isprintable() else None
        return None

    @property
    def prefers_full_hold(self) -> bool:
        """Whether `Prefer: hold=full` is among the preferences (RFC 7240); others mean nothing here."""
        return b"prefer" in self._channel.named and b"hold=full" in self._preferences()

    @property
    def prefers_wait_s(self) -> int:
        """The seconds of `Prefer: wait=N`; of several, the first. What is no number of seconds means nothing."""
        if b"prefer" not in self._channel.named:
            return 0
        waits = [each.removeprefix(b"wait=") for each in self._preferences() if each.startswith(b"wait=")]
        return int(waits[0]) if waits and waits[0].isdigit() and len(waits[0]) <= _LONGEST_NUMBER else 0

    def _preferences(self) -> Sequence[bytes]:
        """Each as `name=value` in small letters, without parameters."""
        said = b",".join(value for name, value in self.headers if name == b"prefer")
        wanted = (each.partition(b";")[0] for each in said.split(b","))
        return [b"".join(each.split()).replace(b'"', b"").lower() for each in wanted]

    @property
    def credentials(self) -> Sequence[str]:
        """Each different value presented in any slot, once."""
        named = self._channel.named
        if len(named) == len(self.headers):  # nothing was said twice
            slots = [(name, named[name]) for name in _SLOTS if name in named]
        else:
            slots = [header for header in self.headers if header[0] in _SLOTS]
        found = dict.fromkeys(_bearer(value) if name == b"authorization" else value.strip() for name, value in slots)
        if self._key_in_query and self.query:
            found |= dict.fromkeys(keys_in(self.query))
        return [value.decode("latin-1") for value in found if value]

    async def body(self) -> bytes | Refusal:
        """The whole body, decompressed; bounded in bytes before and after, and in time."""
        named = self._channel.named
        whole = self._channel.body()
        if whole is not None and b"content-encoding" not in named:
            self.received_ns = self._clock.now_ns()
            return self._judged(whole)
        encoding = named.get(b"content-encoding", b"").strip().lower()
        if encoding not in {b"", b"identity", b"gzip"}:
            return _invalid("The content-encoding of this body is not supported.", "Send it plain or as gzip.")
        declared = named.get(b"content-length", b"").strip()
        if declared.isdigit() and int(declared) > self._limits.body_bytes:
            return self._too_large()
        raw = await self._rest() if whole is None else self._judged(whole)
        self.received_ns = self._clock.now_ns()
        if isinstance(raw, Refusal) or encoding != b"gzip":
            return raw
        return self._unzipped(raw)

    def release(self) -> None:
        """The call is over: its body is not held any more."""
        self._bodies.give_back(self._taken)
        self._taken = 0

    def watch(self, on_gone: Callable[[], None]) -> None:
        self._channel.watch(on_gone)

    def unwatch(self) -> None:
        self._channel.unwatch()

    def _judged(self, whole: bytes) -> bytes | Refusal:
        if len(whole) > self._limits.body_bytes:
            return self._too_large()
        return whole if self._take(len(whole)) else _BUSY

    async def _rest(self) -> bytes | Refusal:
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                return await self._collect()
        except TimeoutError:
            return Refusal(
                code="body_timeout",
                sentence=f"The request body did not arrive within {self._limits.body_timeout_s:g} seconds.",
                hint="Send it again.",
            )

    async def _collect(self) -> bytes | Refusal:
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return _invalid("The caller hung up before its request was complete.", "Send it again.")
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > self._limits.body_bytes:
                return self._too_large()
            if not self._take(len(piece)):
                return _BUSY
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _unzipped(self, raw: bytes) -> bytes | Refusal:
        unzip = zlib.decompressobj(_GZIP)
        try:
            body = unzip.decompress(raw, self._limits.body_bytes + 1)
        except zlib.error:
            return _invalid("The body is not valid gzip.", "Send it plain or as gzip.")
        if len(body) > self._limits.body_bytes:
            return self._too_large()
        if not self._take(len(body)):
            return _BUSY
        if not unzip.eof or unzip.unused_data:
            return _invalid("The gzip body is incomplete or has trailing bytes.", "Send one complete gzip member.")
        return body

    def _take(self, size: int) -> bool:
        taken = self._bodies.take(size)
        self._taken += size if taken else 0
        return taken

    def _too_large(self) -> Refusal:
        return Refusal(
            code="body_too_large",
            sentence=f"The request body is over {self._limits.body_bytes} bytes.",
            hint="Send a shorter conversation, or images by URL.",
        )


_BUSY = Refusal(
    code="gateway_busy",
    sentence="The gateway holds as many request bodies as it may.",
    hint="Send it again in a moment; whoever runs the gateway can raise `limits.bodies_bytes`.",
    retry_after_s=1,
)


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.strip().partition(b" ")
    return (token if scheme.lower() == b"bearer" else value).strip()


def _invalid(sentence: str, hint: str) -> Refusal:
    return Refusal(code="request_invalid", sentence=sentence, hint=hint)
