"""Stops: stopping a credential, session, identity, owner, team, subject, tenant, model, provider or all."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.budget.bounds import Bound
from comptroller.core.identity.credential import PREFIX, is_credential_id
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd
from comptroller.core.problem import did_you_mean, nearest
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Acting, Stop, StopKey, StopKind, StopScope, refusal_of, stop_keys
from comptroller.flow.chain import known_identity
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

STOPS_SHOWN = 200
LONGEST_VALUE = 200  # characters

_MADE = frozenset({"credential", "session"})
_LISTED_BY = {"session": "sessions", "identity": "identities"}


class StopRow(msgspec.Struct, frozen=True):
    id: str  # "" of a bound
    scope: StopScope | Literal["bound"]  # a bound: a model on a provider that was billed above its holds
    value: str
    kind: StopKind
    at: str
    actor: str
    reason: str
    lifted_at: str | None = None
    lifted_by: str | None = None
    lifted_reason: str | None = None


class SetAside(msgspec.Struct, frozen=True):
    """A share that a stopped session keeps: nobody else spends it until the session ends, for a stop can be lifted."""

    session: str
    reserved_usd: str
    expires_at: str  # at the latest


class StopMade(msgspec.Struct, frozen=True):
    """What a stop did."""

    stop: StopRow
    cut_calls: int
    already_stopped: bool  # by the one that `stop` shows; it stands as it was
    warnings: Sequence[str] = ()
    set_aside: Sequence[SetAside] = ()


async def list_stops(office: Office, *, every: bool = False, limit: int = STOPS_SHOWN) -> Sequence[StopRow]:
    """What is stopped now, newest first; with `every`, what was lifted, too."""
    gate = office.gate
    found = {stop.id: stop for stop in (await office.ledger.stops(limit) if every else ())}
    # Memory is ahead of the books: a stop holds here even where it could not be written.
    found |= {stop.id: stop for stop in gate.stops.in_force}
    rows = [_row(stop) for stop in found.values()]
    rows += [_bound_row(bound) for bound in gate.bounds.values() if bound.quarantined]
    return sorted(rows, key=lambda row: (row.at, row.id), reverse=True)[:limit]


async def suspend(
    office: Office, scope: StopScope, value: str, reason: str, actor: str, kind: StopKind = "suspend"
) -> StopMade:
    """Stop it: in memory and in flight first, then in the books. What is stopped already stays as it is.

    If the books cannot be written the stop stands as long as this process lives, and the error is said.
    """
    words = read_reason(reason, "Say why, for whoever meets the refusal.")
    key = read_key(office, scope, value)
    warnings = await check_known(office, key)
    while True:
        stop, already, cut = _stop_now(office, key, words, actor, kind)
        if not already:
            _tell(office, "stop.quarantined" if kind == "quarantine" else "stop.suspended", stop, actor, words)
        try:
            await office.ledger.write_stop(stop, _making(stop))
        except LedgerUnavailableError as error:
            raise ControlProblem(
                503,
                "ledger_unavailable",
                f"{stop.name} is stopped in this process, but the stop could not be written: {error}.",
                "It would be open again after a restart: mend the store, then stop it again.",
            ) from error
        if office.gate.stops.of(key) is stop:  # else somebody has lifted it meanwhile
            return StopMade(_row(stop), cut, already, warnings, _set_aside(office.gate, key))


async def resume(office: Office, scope: StopScope, value: str, reason: str, actor: str) -> StopRow:
    """Lift a stop. On disk first: a right that a restart would take back was never given."""
    words = read_reason(reason, "Say what has changed.")
    gate, key = office.gate, read_key(office, scope, value)
    stop = gate.stops.of(key)
    if stop is None:
        near = did_you_mean(" ".join(key).strip(), [each.name for each in gate.stops.in_force])
        raise conflict(f"{' '.join(key).strip()} is not stopped.", near or "`comptroller stops` lists what is.")
    lifted = msgspec.structs.replace(stop, lifted_at_ns=gate.clock.now_ns(), lifted_by=actor, lifted_reason=words)
    try:
        await office.ledger.lift_stop(lifted, _making(stop), _lifting(lifted))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{stop.name} stays stopped: {error}.") from error
    gate.stops = gate.stops.without(stop)
    if scope == "session":
        gate.trails.forget(value)  # it was quarantined for what it did before, and begins anew
    _tell(office, "stop.resumed", stop, actor, words)
    return _row(lifted)


def _tell(office: Office, name: str, stop: Stop, actor: str, reason: str) -> None:
    said = {"stop": stop.id, "scope": stop.scope, "value": stop.value, "actor": actor, "reason": reason}
    about = {stop.scope: stop.value} if stop.value else {}
    office.gate.notices.emit(name, stop.name, said, about)


def stop_of(gate: Gate, session: Session) -> Stop | None:
    """The stop in force for a session, or for what it belongs to."""
    return gate.stops.applies(_keys_of(gate, session)) if gate.stops else None


def _set_aside(gate: Gate, key: StopKey) -> Sequence[SetAside]:
    """The shares of sessions that a stop of this stops, those that end last first."""
    open_now = [gate.sessions[each] for each in gate.tree.sharers if each in gate.sessions]
    theirs = sorted((each for each in open_now if key in _keys_of(gate, each)), key=lambda each: -each.expires_at_ns)
    shares = [(each, gate.tree.aside(each.id) or 0) for each in theirs]
    return [SetAside(of.id, format_usd(usd), format_instant(of.expires_at_ns)) for of, usd in shares if usd]


def _keys_of(gate: Gate, session: Session) -> Sequence[StopKey]:
    lineage = gate.runs.lineage(session)
    known = [known_identity(gate.registry, each.identity) for each in lineage]
    chain = [
        Acting(each.id, of.id, of.owner, of.team, each.tenant, each.opened_with or (), each.subject)
        for each, of in zip(lineage, known, strict=True)
    ]
    return stop_keys(chain)


def _stop_now(office: Office, key: StopKey, reason: str, actor: str, kind: StopKind) -> tuple[Stop, bool, int]:
    """The stop in force, whether it was before, and how many calls were cut. Does not wait."""
    gate = office.gate
    before = gate.stops.of(key)
    stop = before or Stop(gate.clock.new_id("stp"), *key, kind, gate.clock.now_ns(), actor, reason)
    if before is None:
        gate.stops = gate.stops.with_stop(stop)
    cut = gate.live.stop(
        lambda call: stop.matches_call(call.stop_keys, call.facts.call["provider"], call.facts.called),
        refusal_of(stop, in_flight=True),
    )
    gate.pace.look_again()
    return stop, before is not None, cut


def read_key(office: Office, scope: StopScope, value: str) -> StopKey:
    """What is meant. A credential may be given itself, by whoever has found one: its id is what counts."""
    value = value.strip()
    if scope == "everything":
        if value:
            raise invalid("Everything has no name.", "Leave the value out.")
        return scope, ""
    if scope == "credential" and value.startswith(PREFIX):
        claims = office.gate.credentials.verify(value, office.gate.clock.expiry_ns())
        if isinstance(claims, Refusal):
            raise invalid(f"That credential is of no use to anybody: {claims.sentence}", "There is nothing to stop.")
        return scope, claims.credential_id
    if not value:
        raise invalid(f"Which {scope}?", f"`comptroller suspend {scope} VALUE --reason ...`")
    if len(value) > LONGEST_VALUE or not value.isprintable():
        raise invalid(f"A {scope} is named by at most {LONGEST_VALUE} printable characters.")
    return scope, value


async def check_known(office: Office, key: StopKey) -> Sequence[str]:
    """Warnings about a name that nothing has yet. Raises ControlProblem where only a known one can be meant."""
    scope, value = key
    if scope == "everything":
        return ()
    if scope == "model":
        return _unserved(office, value)
    known = _known(office, scope)
    if value in known or (scope == "session" and await office.ledger.session(value) is not None):
        return ()
    if scope in {"subject", "tenant"}:  # whoever acts for it may come later
        return [f"No session is for a {scope} {value!r} now. The stop holds for it all the same."]
    if scope == "credential" and is_credential_id(value):  # most that there are have made no call yet, or none lately
        return [f"No credential {value!r} is in use now. The stop holds for it all the same."]
    # Of a hundred thousand names it takes seconds. What is made and not named by anybody is not told in bulk.
    near = await asyncio.to_thread(nearest if scope in _MADE else did_you_mean, value, list(known))
    listed = f"`comptroller {_LISTED_BY[scope]}` lists them." if scope in _LISTED_BY else ""
    raise not_found(f"There is no {scope} {value!r}.", near or listed)


def _known(office: Office, scope: StopScope) -> Collection[str]:
    gate, registry = office.gate, office.gate.registry
    match scope:
        case "credential":
            return {session.credential for session in gate.sessions.values()} | set(gate.callers.credentials)
        case "session":
            return gate.sessions.keys()
        case "identity":
            return registry.identities.keys()
        case "owner":
            return registry.owners.keys()
        case "team":
            return registry.teams.keys()
        case "subject" | "tenant":
            said = (session.subject if scope == "subject" else session.tenant for session in gate.sessions.values())
            return {each for each in said if each is not None}
        case "provider":
            return gate.providers.keys()
        case _:
            return ()


def _unserved(office: Office, value: str) -> Sequence[str]:
    registry = office.gate.registry
    if registry.model(value) is not None or any(fnmatchcase(pattern, value) for pattern in registry.models):
        return ()
    near = did_you_mean(value, registry.models)
    return [
        f"No entry of the registry serves a model {value!r} now. The stop holds for it all the same. {near}".strip()
    ]


def _making(stop: Stop) -> Change:
    return Change(stop.at_ns, stop.actor, stop.kind, stop.scope, stop.value, stop.reason, after=_after(stop))


def _lifting(lifted: Stop) -> Change:
    return Change(
        lifted.lifted_at_ns or 0,
        lifted.lifted_by or "",
        "resume",
        lifted.scope,
        lifted.value,
        lifted.lifted_reason or "",
        before=_after(lifted),
    )


def _after(stop: Stop) -> str:
    return msgspec.json.encode({"stop": stop.id}).decode()


def _row(stop: Stop) -> StopRow:
    return StopRow(
        id=stop.id,
        scope=stop.scope,
        value=stop.value,
        kind=stop.kind,
        at=format_instant(stop.at_ns),
        actor=stop.actor,
        reason=stop.reason,
        lifted_at=format_instant(stop.lifted_at_ns) if stop.lifted_at_ns is not None else None,
        lifted_by=stop.lifted_by,
        lifted_reason=stop.lifted_reason,
    )


def _bound_row(bound: Bound) -> StopRow:
    """A model that the gateway quarantined by itself (core/budget/bounds.py)."""
    reason = f"billed above its hold {bound.overruns} times"
    return StopRow("", "bound", bound.name, "quarantine", format_instant(bound.last_overrun_ns), "gateway", reason)
