"""Break-glass: one admin asks that policies be skipped for a while, another one confirms; it ends by itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.control.stops import check_known, read_key
from comptroller.core.budget.hold import NOTHING
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.identity.admin import INCLUDES, Actor, Role
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.money import format_usd
from comptroller.core.policy.break_glass import BreakGlass, BreakGlassScope, BreakGlassState, Broken
from comptroller.core.work.bounds import Bounds
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

GRANTS_SHOWN = 100
SHORTEST_S = 60
LONGEST_S = 24 * 3600
MOST_NANOS = 10**15  # a million USD
_DONE = {"ask": "asked", "confirm": "confirmed", "end": "ended"}
BY_ITSELF = "gateway"  # who ends what nobody ended before its time


class BreakGlassRow(msgspec.Struct, frozen=True):
    id: str
    scope: BreakGlassScope
    value: str
    state: BreakGlassState
    limit_usd: str
    spent_usd: str | None  # None: it was never in force
    held_usd: str | None  # None: it is not in force now
    lasts_s: int
    reason: str
    asked_at: str
    asked_by: str
    confirmed_by: str | None
    ends_at: str | None
    ended_by: str | None
    ended_at: str | None = None


async def go_on(office: Office) -> None:
    """After a start: grants that nobody ended go on, with what they have spent, until `end_past` comes to them."""
    gate = office.gate
    found = await office.ledger.break_glass_confirmed()
    spent = await office.ledger.instance_balances([LEDGER_KEY], [each.id for each in found])
    for grant in found:
        posted = spent.get(ledger_key(grant.id), NOTHING)
        gate.tree.open_session(grant.id, Bounds(usd_nanos=grant.limit_nanos), posted)
    gate.broken = Broken(found)


async def list_grants(office: Office, limit: int = GRANTS_SHOWN) -> Sequence[BreakGlassRow]:
    """Newest first; those that are over, too, with what was spent by them."""
    return await _rows(office, await office.ledger.break_glass_list(limit))


async def _rows(office: Office, grants: Sequence[BreakGlass]) -> Sequence[BreakGlassRow]:
    await office.catch_up()
    over = [each.id for each in grants if each.confirmed_at_ns is not None and office.gate.tree.meter(each.id) is None]
    spent = await office.ledger.instance_balances([LEDGER_KEY], over)
    posted = {each: spent.get(ledger_key(each), NOTHING).usd for each in over}
    return [_row(office, each, posted.get(each.id)) for each in grants]


async def ask(
    office: Office, scope: BreakGlassScope, value: str, lasts_s: int, limit_nanos: int, reason: str, actor: Actor
) -> BreakGlassRow:
    """Ask for a grant. Nothing changes until somebody else confirms it."""
    _check_named(actor)
    words = read_reason(reason, "Say what burns, for whoever is to confirm it.")
    if not SHORTEST_S <= lasts_s <= LONGEST_S:
        raise invalid(f"This cannot last {lasts_s} s.", f"A minute to {LONGEST_S // 3600} hours.")
    if not 0 < limit_nanos <= MOST_NANOS:
        hint = f"Give an amount above zero, and at most {format_usd(MOST_NANOS)} USD."
        raise invalid("That is no amount for an emergency.", hint)
    key = read_key(office, scope, value)
    await check_known(office, key)
    clock = office.gate.clock
    asked_at_ns = clock.now_ns()
    grant = BreakGlass(clock.new_id("brg"), scope, key[1], limit_nanos, lasts_s, words, asked_at_ns, actor.name)
    await _write(office, grant, "ask", actor.name, asked_at_ns)
    return _row(office, grant)


async def confirm(office: Office, grant_id: str, actor: Actor) -> BreakGlassRow:
    """Put into force what another admin has asked for."""
    _check_named(actor)
    async with office.changing:
        grant, now_ns = await _known(office, grant_id), office.gate.clock.now_ns()
        if grant.state(now_ns) != "asked":
            raise conflict(f"{grant.id} is {grant.state(now_ns).replace('_', ' ')}.", "`comptroller break-glass list`")
        if grant.asked_by == actor.name:
            hint = "Ask another admin who may approve: `comptroller admins list`."
            raise ControlProblem(403, "second_admin_needed", f"{actor.name} has asked for this.", hint)
        _check_still(office, grant.asked_by, "operator", f"{grant.asked_by} has asked for this")
        _check_still(office, actor.name, "approver", f"{actor.name} confirms this")
        ends_at_ns = now_ns + grant.lasts_s * NANOS_PER_SECOND
        grant = msgspec.structs.replace(grant, confirmed_at_ns=now_ns, confirmed_by=actor.name, ends_at_ns=ends_at_ns)
        await _write(office, grant, "confirm", actor.name, now_ns)
        gate = office.gate
        gate.tree.open_session(grant.id, Bounds(usd_nanos=grant.limit_nanos))
        gate.broken = Broken((*gate.broken.grants, grant))
    return _row(office, grant)


async def end(office: Office, grant_id: str, actor: Actor) -> BreakGlassRow:
    """End a grant, or take back what was asked for, at once. Calls in flight go on."""
    async with office.changing:
        grant, now_ns = await _known(office, grant_id), office.gate.clock.now_ns()
        if grant.state(now_ns) == "over":
            return (await _rows(office, [grant]))[0]
        # At once, whatever the books say.
        spent = _let_go(office, grant)
        spent_usd = None if spent is None else format_usd(spent)
        before, grant = grant, msgspec.structs.replace(grant, ended_at_ns=now_ns, ended_by=actor.name)
        try:
            await _write(office, grant, "end", actor.name, now_ns, spent_usd)
        except ControlProblem as problem:
            if before.ends_at_ns is None:
                raise
            again = f"it goes on until {format_instant(before.ends_at_ns)}: mend the store, then end it again."
            raise ControlProblem(
                problem.status,
                problem.code,
                f"{grant.id} is over in this process, but {problem.message}",
                f"After a restart {again}",
            ) from problem
    return _row(office, grant, spent)


async def end_past(office: Office) -> None:
    """Put on record which grants have ended by themselves, and let go of them. What cannot be written is tried again:
    a grant whose time is over lets nothing through.
    """
    now_ns = office.gate.clock.now_ns()
    for grant in office.gate.broken.grants:
        if grant.ends_at_ns is None or grant.state(now_ns) == "in_force":
            continue
        over = msgspec.structs.replace(grant, ended_at_ns=grant.ends_at_ns, ended_by=BY_ITSELF)
        spent = _spent(office, grant)
        await _write(office, over, "end", BY_ITSELF, now_ns, None if spent is None else format_usd(spent))
        _let_go(office, grant)


def _let_go(office: Office, grant: BreakGlass) -> int | None:
    """From now on it lets nothing through. Calls in flight go on. Returns what was spent by it so far, in nano-USD."""
    gate, spent = office.gate, _spent(office, grant)
    gate.broken = Broken(each for each in gate.broken.grants if each.id != grant.id)
    gate.tree.close_session(grant.id)
    return spent


def _spent(office: Office, grant: BreakGlass) -> int | None:
    meter = office.gate.tree.meter(grant.id)
    return None if meter is None else meter.windows[0].posted


def _check_still(office: Office, name: str, role: Role, who: str) -> None:
    """Both are admins of their role to the end: one who was disabled meanwhile is no second person."""
    admin = office.admins.get(name)
    active = admin is not None and admin.standing(office.gate.clock.expiry_ns()) == "active"
    if admin is None or not active or role not in INCLUDES[admin.role]:
        hint = "It takes two admins who may act now: let one of them ask anew."
        raise ControlProblem(403, "second_admin_needed", f"{who}, and may not act any more.", hint)


def _check_named(actor: Actor) -> None:
    if not actor.named:
        sentence = "The bootstrap credential is nobody in particular, and this takes two people."
        raise ControlProblem(403, "named_admin_needed", sentence, "`comptroller admins add NAME --role ...`, twice.")


async def _known(office: Office, grant_id: str) -> BreakGlass:
    found = await office.ledger.break_glass_of(grant_id)
    if found is None:
        raise not_found(f"There is no grant {grant_id!r}.", "`comptroller break-glass list` lists them.")
    return found


async def _write(
    office: Office, grant: BreakGlass, verb: str, actor: str, at_ns: int, spent_usd: str | None = None
) -> None:
    """On disk first: a right that a restart would take back was never given."""
    facts = {"scope": grant.name, "limit_usd": format_usd(grant.limit_nanos), "lasts_s": grant.lasts_s}
    ends = {} if grant.ends_at_ns is None else {"ends_at": format_instant(grant.ends_at_ns)}
    spent = {} if spent_usd is None else {"spent_usd": spent_usd}
    after = msgspec.json.encode(facts | ends | spent | {"asked_by": grant.asked_by}).decode()
    change = Change(at_ns, actor, verb, "break_glass", grant.id, grant.reason, after=after)
    try:
        await office.ledger.write_break_glass(grant, change)
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{grant.id} could not be written: {error}.") from error
    said = {"grant": grant.id, "actor": actor, "reason": grant.reason, "asked_by": grant.asked_by}
    about = {grant.scope: grant.value} if grant.value else {}
    office.gate.notices.emit(f"break_glass.{_DONE[verb]}", grant.name, {**said, **facts, **ends, **spent}, about)


def _row(office: Office, grant: BreakGlass, posted: int | None = None) -> BreakGlassRow:
    """`posted`: what was spent by one that is over, in nano-USD."""
    state = grant.state(office.gate.clock.now_ns())
    meter = office.gate.tree.meter(grant.id)
    counted = None if meter is None else meter.windows[0]
    spent = posted if counted is None else counted.posted
    return BreakGlassRow(
        id=grant.id,
        scope=grant.scope,
        value=grant.value,
        state=state,
        limit_usd=format_usd(grant.limit_nanos),
        spent_usd=None if spent is None else format_usd(spent),
        held_usd=None if counted is None or state != "in_force" else format_usd(counted.held),
        lasts_s=grant.lasts_s,
        reason=grant.reason,
        asked_at=format_instant(grant.asked_at_ns),
        asked_by=grant.asked_by,
        confirmed_by=grant.confirmed_by,
        ends_at=None if grant.ends_at_ns is None else format_instant(grant.ends_at_ns),
        ended_by=grant.ended_by,
        ended_at=None if grant.ended_at_ns is None else format_instant(grant.ended_at_ns),
    )
