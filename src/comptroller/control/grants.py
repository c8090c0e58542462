"""Grants: the exceptions that approvals give. Listing them, giving one that nobody asked for, taking one back."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.approval_rows import GrantRow, TermsRow, grant_row, lasted_s, posted_by, say_amount, used
from comptroller.control.approvals import decider_of, owners, refuse
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.approval.decide import BY_ITSELF, No, Wanted
from comptroller.core.approval.decide import give as give_by_rule
from comptroller.core.approval.decide import revoke as take_back
from comptroller.core.approval.grant import PREFIX, Grant
from comptroller.core.approval.ticket import GrantBound
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.identity.admin import Actor
from comptroller.core.instant import format_instant
from comptroller.core.problem import did_you_mean
from comptroller.flow.approval_notices import tell_of_grant
from comptroller.flow.approvals import asked_by, end_grant, give_grant, task_of
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

GRANTS_SHOWN = 200


async def list_grants(office: Office, *, every: bool = False, limit: int = GRANTS_SHOWN) -> Sequence[GrantRow]:
    """Those that calls may use, the oldest first; with `every`, all, the newest first."""
    if not every:
        rows = [grant_row(office, each) for each in office.gate.approvals.grants]
        return [row for row in rows if row.state == "active"][:limit]
    await office.catch_up()
    found = await office.ledger.grants(limit)
    posted = await posted_by(office, [each for each in found if office.gate.tree.meter(each.id) is None])
    return [grant_row(office, each, posted.get(each.id, NOTHING)) for each in found]


async def give(office: Office, wanted: Wanted, reason: str, actor: Actor) -> GrantRow:
    """Give a grant that nobody has asked for, to whoever `wanted` names. What takes two has to be asked for."""
    words = read_reason(reason, "Say why, for whoever asks later.")
    gate, terms = office.gate, wanted.terms
    async with office.changing:
        for_whom = await _whom(office, terms.bound, wanted.value)
        _check_budgets(office, wanted.budgets)
        now_ns = gate.clock.now_ns()
        whole = msgspec.structs.replace(wanted, for_whom=tuple(for_whom), reason=words)
        roles, grant_id = gate.registry.approvals, gate.clock.new_id(PREFIX)
        done = give_by_rule(whole, decider_of(office, actor), roles, owners(office), now_ns=now_ns, grant_id=grant_id)
        if isinstance(done, No):
            refuse(done)
        await _write(office, done, Change(now_ns, actor.name, "give", "grant", done.id, words, after=_facts(done)))
        give_grant(gate, done)
        tell_of_grant(gate, "grant.made", done, actor.name)
        return grant_row(office, done)


async def revoke(office: Office, grant_id: str, reason: str, actor: Actor) -> GrantRow:
    """Take a grant back: from now on no call uses it. Calls in flight go on; they were held. Twice is once."""
    words = read_reason(reason, "Say why, for whoever had it.")
    async with office.changing:
        gate = office.gate
        live = gate.approvals.grant(grant_id)
        grant = live or await office.ledger.grant(grant_id)
        if grant is None:
            raise not_found(f"There is no grant {grant_id!r}.", "`comptroller grants list --all` lists them.")
        if live is None and (grant.revoked_at_ns is not None or grant.ended_at_ns is not None):
            return grant_row(office, grant, (await posted_by(office, [grant]))[grant_id])
        now_ns, spent = gate.clock.now_ns(), _spent(office, grant)
        revoked = take_back(grant, actor.name, now_ns)
        if live is not None:
            end_grant(gate, grant_id)  # at once, whatever the books say
        after = _facts(revoked, spent)
        change = Change(now_ns, actor.name, "revoke", "grant", grant_id, words, _facts(grant), after)
        try:
            await _write(office, revoked, change)
        except ControlProblem as problem:
            until = format_instant(grant.expires_at_ns)
            sentence = f"{grant_id} is over in this process, but {problem.message}"
            hint = f"After a restart it goes on until {until}: mend the store, then revoke it again."
            raise ControlProblem(problem.status, problem.code, sentence, hint) from problem
        tell_of_grant(gate, "grant.revoked", revoked, actor.name, spent)
        return grant_row(office, revoked, spent)


async def go_on(office: Office) -> None:
    """After a start: grants that nobody ended go on, with what was spent by them, until `end_past` comes to them."""
    found = await office.ledger.grants_going_on()
    posted = await posted_by(office, found)
    for grant in found:
        give_grant(office.gate, grant, posted.get(grant.id, NOTHING))


async def end_past(office: Office) -> None:
    """Put on record which grants are used up or expired, and let go of them.

    What cannot be written is tried again: such a grant lets nothing through.
    """
    gate = office.gate
    for grant in gate.approvals.grants:
        now_ns, spent = gate.clock.now_ns(), _spent(office, grant)
        state = grant.state(now_ns, spent)
        if state == "active":
            continue
        async with office.changing:
            if gate.approvals.grant(grant.id) is None:
                continue
            ended = msgspec.structs.replace(grant, ended_at_ns=min(now_ns, grant.expires_at_ns))
            change = Change(now_ns, BY_ITSELF, "end", "grant", grant.id, state, _facts(grant), _facts(ended, spent))
            await _write(office, ended, change)
            end_grant(gate, grant.id)
        tell_of_grant(gate, "grant.ended", ended, BY_ITSELF, spent)
        gate.warn("grant_ended", {"message": f"{grant.id} for {grant.name} is {state.replace('_', ' ')}."})


def _spent(office: Office, grant: Grant) -> Amounts:
    meter = office.gate.tree.meter(grant.id)
    return NOTHING if meter is None else meter.posted


async def _whom(office: Office, bound: GrantBound, value: str) -> Sequence[str]:
    """The names of those whom a grant is for. Raises ControlProblem for nobody."""
    gate = office.gate
    if bound == "session":
        session = gate.sessions.get(value)
        if session is None or not session.goes_on(gate.clock.expiry_ns()):
            raise not_found(f"No session {value!r} is open.", "`comptroller sessions` lists them.")
        return asked_by(gate, session)
    if bound == "identity":
        identity = gate.registry.identities.get(value)
        if identity is None:
            near = did_you_mean(value, gate.registry.identities)
            raise not_found(f"There is no identity {value!r}.", near or "`comptroller identities` lists them.")
        return tuple(name for name in (identity.id, identity.owner, identity.deputy) if name)
    doing = [each for each in office.going_on().values() if task_of(gate, each) == value]
    if not doing:
        hint = "A task is IDENTITY:TYPE:REFERENCE, of the identity that its first session is for: agent/scout:ticket:7."
        raise not_found(f"No open session serves the task {value!r}.", hint)
    return [name for each in doing for name in asked_by(gate, each)]


def _check_budgets(office: Office, names: Sequence[str]) -> None:
    known = [budget.name for budget in office.gate.registry.budgets]
    for name in names:
        if name not in known:
            near = did_you_mean(name, known)
            raise not_found(f"There is no budget {name!r}.", near or "`comptroller budgets` lists them.")


async def _write(office: Office, grant: Grant, change: Change) -> None:
    """On disk first: a right that a restart would take back was never given."""
    try:
        await office.ledger.write_grant(grant, change)
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"{grant.id} could not be written: {error}.") from error


def _facts(grant: Grant, spent: Amounts = NOTHING) -> str:
    """What an event says of a grant."""
    terms = TermsRow(say_amount(grant.amount, grant.unit), grant.unit, grant.uses, lasted_s(grant), grant.bound)
    facts = {
        "for": grant.name,
        "role": grant.role,
        "suspends": grant.suspends,
        "budgets": grant.budgets,
        **({"tool": grant.tool, "arguments_digest": grant.arguments_digest} if grant.tool else {}),
        **msgspec.structs.asdict(terms),
        "expires_at": format_instant(grant.expires_at_ns),
    }
    if spent != NOTHING:
        facts |= {"spent": say_amount(spent.of(grant.unit), grant.unit), "used": used(spent)}
    return msgspec.json.encode(facts).decode()
