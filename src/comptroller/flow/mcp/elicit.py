"""Elicit: a client that can ask its user hears in the protocol's own words that a person has to approve its call.

It is sent to a page that says who is asked, with a `requestState`; then it sends the same call again. What it sends
back is taken for a stranger's word: the state is ours (a keyed digest), in its time, of this caller, tool and
arguments, and good once. **It is no approval.** Whoever has one is let through by a grant, as with any other call; the
state only says that somebody waits for it. So one that is lost, or replayed after a restart, lets nothing through.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable

import msgspec

from comptroller.core.approval.ticket import TICKET_STATES
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import ApprovalAsked, Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall
from comptroller.wire.mcp.asking import MARK, input_required_body, own_answer, own_state, without_ours
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.headers import Headers
from comptroller.wire.mcp.message import Message
from comptroller.wire.mcp.request import McpRequest

PAGE = "/comptroller/approvals/"
ROUND_WAIT_S = 25.0
"""How long a round waits for whoever was asked: clients begin the next one by themselves, and give up after ten."""
STATE_LASTS_S = 3600
_LONGEST = 16 * 1024  # of what a server had asked for before us: it comes back in every round
_ROUNDS = frozenset({"tools/call", "prompts/get", "resources/read"})  # the methods that may be asked about
_OPEN: frozenset[str] = frozenset(name for name, each in TICKET_STATES.items() if each.open)
_PURPOSE = "mcp-state"


class _State(msgspec.Struct, frozen=True, array_like=True):
    """What a `requestState` says. What its server had been sent is the client's own, so it need not be hidden."""

    nonce: str
    expires_at_ns: int
    identity: str
    session: str
    tool: str
    arguments_digest: str
    ticket: str
    server_state: str = ""
    server_responses: str = ""


class Resumed(msgspec.Struct, frozen=True):
    """A call that was asked about: as it goes on to its server, and how long it waits for the answer to its ticket."""

    message: Message
    waits_s: float


_STATE = msgspec.json.Decoder(_State)


class AskingCall(McpCall):
    """The dialect of a message whose client can ask its user: what needs an approval is no error yet."""

    def __init__(
        self, plain: McpCall, message: Message, headers: Headers, ask: Callable[[ApprovalAsked], str], url: str
    ) -> None:
        super().__init__(plain.server, message, headers, loopback=plain.loopback)
        self._asked, self._ask, self._url = message, ask, url

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """A question, where somebody may still say yes; else as ever."""
        approval = refusal.approval
        if approval is None or approval.state not in _OPEN:
            return super().refusal_body(refusal, call_id)
        return input_required_body(self._asked, refusal, self._url + approval.ticket, self._ask(approval))


def elicited(gate: Gate, call: IncomingCall, dialect: McpCall, message: Message) -> IncomingCall | Refusal:
    """The call as it goes on if its client was asked about it, and such that its client can be asked."""
    use, request = call.asked.tool, call.request
    if use is None or not (message.elicits or message.request_state):
        return call
    back = resumed(gate, call.caller, message, use)
    if isinstance(back, Refusal):
        return back
    if back is not None and isinstance(request, McpRequest):
        message, request = back.message, msgspec.structs.replace(request, message=back.message)
    return msgspec.structs.replace(
        call,
        request=request,
        body=message.body,
        dialect=asking(gate, call.caller, dialect, message, use, call.sender.headers),
        waits_s=0.0 if back is None else back.waits_s,
    )


def asking(gate: Gate, caller: Caller, dialect: McpCall, message: Message, use: ToolUse, headers: Headers) -> McpCall:
    """The dialect for a call of this tool: one that can ask, if its client says that it can."""
    before = message.request_state + message.input_responses
    if not message.elicits or message.method not in _ROUNDS or len(before) > _LONGEST:
        return dialect

    def ask(approval: ApprovalAsked) -> str:
        return _sealed(gate, caller, message, use, approval)

    return AskingCall(dialect, message, headers, ask, gate.known_as + PAGE)


def resumed(gate: Gate, caller: Caller, message: Message, use: ToolUse) -> Resumed | Refusal | None:
    """What becomes of a call that comes back with a state of ours; None: it has none."""
    text = own_state(message)
    if text is None:
        return None
    state = _opened(gate, text)
    if isinstance(state, Refusal):
        return state
    if (state.identity, state.session) != (caller.identity.id, caller.claims.session):
        return _strange(f"was given to another session than {caller.claims.session}")
    if (state.tool, state.arguments_digest) != (use.name, use.arguments_digest):
        return _strange(f"was given for another call than this one of {use.name}, or for other arguments")
    if not gate.used_states.take(state.nonce):
        return _strange("was sent back before, and is good once")
    answer = own_answer(message)
    if isinstance(answer, Refusal):
        return answer
    if answer != "accept":
        return _declined(use, state.ticket, answer)
    before = without_ours(message, state.server_state.encode(), state.server_responses.encode())
    return Resumed(before, min(ROUND_WAIT_S, gate.limits.approval_wait_s))


def _sealed(gate: Gate, caller: Caller, message: Message, use: ToolUse, approval: ApprovalAsked) -> str:
    state = _State(
        nonce=gate.clock.new_id("mrt"),
        expires_at_ns=gate.clock.expiry_ns() + STATE_LASTS_S * NANOS_PER_SECOND,
        identity=caller.identity.id,
        session=caller.claims.session,
        tool=use.name,
        arguments_digest=use.arguments_digest,
        ticket=approval.ticket,
        server_state=message.request_state.decode(),
        server_responses=message.input_responses.decode(),
    )
    payload = base64.urlsafe_b64encode(msgspec.json.encode(state))
    return f"{MARK}{payload.decode()}.{gate.credentials.mac(_PURPOSE, payload)}"


def _opened(gate: Gate, text: str) -> _State | Refusal:
    """What a state of ours says; nothing of it is looked at before its digest holds."""
    payload, _, mac = text.removeprefix(MARK).rpartition(".")
    written = payload.encode("utf-8", "replace")
    if not hmac.compare_digest(gate.credentials.mac(_PURPOSE, written).encode(), mac.encode("utf-8", "replace")):
        return _strange("is not one that this gateway has given")
    state = _STATE.decode(base64.urlsafe_b64decode(written))
    return state if gate.clock.expiry_ns() < state.expires_at_ns else _strange("has expired")


def _strange(what: str) -> Refusal:
    return Refusal(
        code="request_invalid",
        sentence=f"The `requestState` of this call {what}.",
        hint="Call the tool again without it: who waits for an approval finds the same ticket.",
        param="requestState",
    )


def _declined(use: ToolUse, ticket: str, answer: str) -> Refusal:
    did = "declined" if answer == "decline" else "dismissed"
    return Refusal(
        code="approval_required",
        sentence=f"Whoever uses this client has {did} the question about {use.name}, so it was not called.",
        hint=f"The ticket {ticket} stays open: call the tool again once it is approved, if it is still wanted.",
    )
