"""Quote: what a call of a tool costs, where its server's owner is asked each time (`price_callback`).

Asked before anything is decided about money, with the tool, who calls and the arguments; answered `{"usd": "0.05"}`.
What is late, or no amount, is no price: then the call is refused. Nobody is asked about a call that no policy permits,
nor told arguments that a rule forbids.
"""

from __future__ import annotations

import asyncio

import msgspec

from comptroller.core.money import parse_usd
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.tool_scope import SERVER_PREFIX, forbidden_arguments, why_hidden
from comptroller.flow.upstream import Origin, Timeouts, UpstreamFailure, UpstreamRequest

PATIENCE_S = 2.0
_TIMEOUTS = Timeouts(PATIENCE_S, PATIENCE_S, PATIENCE_S, PATIENCE_S)
_MOST_BYTES = 4_096
_MOST_NANOS = 10**15  # a million USD: whoever says more has mistaken the unit
_OK = 200
_HEADERS = (
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
    (b"content-type", b"application/json"),
)


class Question(msgspec.Struct, frozen=True):
    """What the owner is told. Arguments go to the server all the same; of the credential nothing is said."""

    call: str
    tool: str  # SERVER/TOOL
    identity: str
    session: str
    arguments_digest: str  # keyed: the same for the same arguments
    arguments: msgspec.Raw


class _Quote(msgspec.Struct, frozen=True):
    usd: str


async def quoted(gate: Gate, call_id: str, caller: Caller, use: ToolUse) -> ToolUse | Refusal:
    """The use with its price, if its server has somebody to ask."""
    provider = gate.providers.get(SERVER_PREFIX + use.server)
    if provider is None or provider.price_callback is None:
        return use
    refused = (
        why_hidden(gate, caller, use.name)
        or forbidden_arguments(caller, use)
        or gate.pins.refusal(use.server, use.name.partition("/")[2])
    )
    if refused is not None:
        return refused
    question = Question(
        call_id, use.name, caller.identity.id, caller.session.id, use.arguments_digest, msgspec.Raw(use.arguments)
    )
    answer = await _asked(gate, provider.price_callback, msgspec.json.encode(question))
    if isinstance(answer, int):
        return msgspec.structs.replace(use, quote_nanos=answer)
    gate.warn("price_not_had", {"comptroller.call.id": call_id, "message": f"{use.name}: {answer}"})
    return Refusal(
        code="price_unknown",
        sentence=f"What a call of the tool {use.name!r} costs could not be learned: {answer}.",
        hint=f"Send it again in a moment, or ask whoever runs the gateway about `price_callback` of {use.server}.",
    )


async def _asked(gate: Gate, origin: Origin, body: bytes) -> int | str:
    """The price in nano-USD, or why there is none, in words that name no address."""
    request = UpstreamRequest(origin, "", _HEADERS, body, _TIMEOUTS)
    exchange = gate.upstream.open(request, buffer_limit_bytes=_MOST_BYTES, on_overflow=lambda: None)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await exchange.start()
            if exchange.status != _OK:
                return f"whoever is asked for it answered HTTP {exchange.status}"
            return read_quote(await exchange.read(_MOST_BYTES))
    except TimeoutError:
        return f"whoever is asked for it said nothing within {PATIENCE_S:g} s"
    except UpstreamFailure as failure:
        return f"whoever is asked for it could not be heard ({failure.kind})"
    finally:
        exchange.abort()


def read_quote(body: bytes) -> int | str:
    """The amount in an answer, in nano-USD, or why it is none."""
    try:
        nanos = parse_usd(msgspec.json.decode(body, type=_Quote).usd)
    except (ValueError, RecursionError):
        return 'whoever is asked for it did not answer {"usd": "0.05"}'
    if not 0 <= nanos <= _MOST_NANOS:
        return "whoever is asked for it named an amount that is none"
    return nanos
