"""The judgements: our books against the sandbox's bill, and against themselves. Each says both numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.torture.books import Billed, Books, Call, Key, Sum, total
from tests.torture.world import LATE_BUDGET, nanos

EXAMPLES = 5
_EPOCH_NS = 10**9

# An attempt that ended so may have been written and never seen: the connection was let go of at once.
_UNSEEN = frozenset({"client_gone", "stopped", "drained", "crashed", "provider_cut", "provider_unreachable"})


@dataclass(frozen=True)
class Verdict:
    """One judgement. `ours` and `theirs` are what was compared."""

    what: str
    passed: bool
    ours: str
    theirs: str
    examples: tuple[str, ...] = ()


def judge(what: str, wrong: Iterable[str], ours: object, theirs: object) -> Verdict:
    """Passed if nothing is wrong."""
    faults = tuple(wrong)
    more = (f"... and {len(faults) - EXAMPLES} more",) if len(faults) > EXAMPLES else ()
    return Verdict(what, not faults, str(ours), str(theirs), (*faults[:EXAMPLES], *more))


def call_of(attempt: str) -> str:
    """The call that an attempt belongs to."""
    return attempt.rpartition(".")[0]


def bill_by_call(bill: Iterable[Billed]) -> Mapping[str, int]:
    billed: Counter[str] = Counter()
    for line in bill:
        if line.attempt is not None:
            billed[call_of(line.attempt)] += line.nanos
    return billed


def money(books: Books, bill: Sequence[Billed]) -> list[Verdict]:
    """Billed <= recorded for each call; equal where it is not presumed; nothing where it is voided."""
    billed = bill_by_call(bill)
    overran = {call_of(line.attempt) for line in bill if line.fault == "overrun" and line.attempt is not None}
    less: list[str] = []
    other: list[str] = []
    free: list[str] = []
    posted = [0, 0]
    for call in books.attempts():
        theirs, ours = billed.get(call.id, 0), call.charge.usd
        if ours < theirs and not (call.state == "presumed" and call.id in overran):
            less.append(_says(call, theirs))
        if call.state == "posted":
            posted[0] += ours
            posted[1] += theirs
            if ours != theirs:
                other.append(_says(call, theirs))
        if call.state == "voided" and theirs:
            free.append(_says(call, theirs))
    recorded = total(call.charge for call in books.attempts()).usd
    voided = sum(call.state == "voided" for call in books.attempts())
    return [
        judge("billed <= recorded, for every call", less, f"{recorded} recorded", f"{sum(billed.values())} billed"),
        judge("recorded = billed, where not presumed", other, f"{posted[0]} posted", f"{posted[1]} billed for them"),
        judge("voided calls were not billed", free, f"{voided} voided", f"{len(free)} billed"),
    ]


def upstream(books: Books, bill: Sequence[Billed]) -> list[Verdict]:
    """What went upstream is what was held, and each attempt once."""
    seen = Counter(line.attempt for line in bill if not line.polled)
    unknown = [f"{line} is on the bill" for line in seen if line is None or call_of(line) not in books.calls]
    twice = [f"{attempt} went upstream {times} times" for attempt, times in seen.items() if times > 1]
    calls = [books.calls[call_of(attempt)] for attempt in seen if attempt and call_of(attempt) in books.calls]
    refused = [_says(call, 0) for call in calls if not call.attempts]
    unsent = [_says(call, 0) for call in calls if call.settled and not call.charge.calls]
    written = [call for call in books.attempts() if call.charge.calls]
    reached = {call_of(attempt) for attempt in seen if attempt}
    missing = [call for call in written if call.id not in reached]
    strange = [_says(call, 0) for call in missing if call.outcome not in _UNSEEN or call.status is not None]
    lost = Counter(str(call.outcome) for call in missing)
    rest = "".join(f", {number} {outcome}" for outcome, number in lost.items())
    return [
        judge(
            "nothing refused or unsent went upstream",
            unknown + twice + refused + unsent,
            f"{sum(bool(c.refusal) for c in books.calls.values())} refused",
            f"{len(bill)} requests at the provider",
        ),
        judge(
            "every attempt that counts as a call was seen",
            strange,
            f"{len(written)} attempts",
            f"{len(seen)} seen{rest} before they were",
        ),
    ]


def settled_once(books: Books) -> list[Verdict]:
    """Nothing is open, nothing was settled twice, and each settled call's windows add up."""
    left = [f"{call.id} is open" for call in books.calls.values() if call.state == "open"]
    left += [f"the hold {attempt} is open" for attempt in books.holds]
    twice = [sentence for code, _, sentence in books.findings if code == "settled_without_hold"]
    more = [_says(call, 0) for call in books.attempts() if call.charge.calls > call.attempts]
    settled = len(books.parts)
    attempts = sum(call.attempts for call in books.attempts())
    return [
        judge("after quiet no hold is left", left, f"{len(books.holds)} holds", f"{len(left)} open"),
        judge("each attempt is settled exactly once", twice + more, f"{settled} settled", f"{attempts} attempts"),
    ]


def sums(books: Books, rows: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """What the gateway says of each window is the sum of its calls, found by the budget's scope."""
    wrong: list[str] = []
    ours = theirs = 0
    held = 0
    instances = {per: _by_instance(books, per) for per in {row["per"] for row in rows}}
    for row in rows:
        posted = amount_of(row, "posted")
        calls = instances[row["per"]].get(row["instance"], ())
        expected = total(call.charge for call in calls if draws_on(call, row)).of(row["unit"])
        ours, theirs, held = ours + posted, theirs + expected, held + amount_of(row, "held")
        if posted != expected:
            wrong.append(f"{row['name']}[{row['instance']}] has {posted} posted; its calls come to {expected}")
    still = [f"{row['name']}[{row['instance']}] holds {row['held']}" for row in rows if amount_of(row, "held")]
    return [
        judge(f"posted = sum of calls in scope, {len(rows)} windows", wrong, f"{ours} posted", f"{theirs} of calls"),
        judge("held = 0 everywhere", still, f"{held} held", "0"),
    ]


def _by_instance(books: Books, per: str | None) -> Mapping[str | None, Sequence[Call]]:
    """The settled attempts, by what a budget has one window for each of; "" for one pool."""
    found: dict[str | None, list[Call]] = {}
    for call in books.parts:
        found.setdefault(call.facts[per] if per is not None else "", []).append(call)
    return found


def in_flight(books: Books, rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """What the gateway says is held in each window is the sum of the open holds in its scope."""
    wrong: list[str] = []
    ours = theirs = 0
    for row in rows:
        held = amount_of(row, "held")
        expected = total(call.held for call in books.holds.values() if draws_on(call, row)).of(row["unit"])
        ours, theirs = ours + held, theirs + expected
        if held != expected:
            wrong.append(f"{row['name']}[{row['instance']}] holds {held}; the open holds come to {expected}")
    if not books.holds:
        wrong.append("nothing was in flight")
    return judge(f"held = sum of {len(books.holds)} open holds in scope", wrong, f"{ours} held", f"{theirs} of holds")


def draws_on(call: Call, row: Mapping[str, Any]) -> bool:
    """Whether a call is in a budget's scope, instance and window. Refused calls have no charge and do no harm."""
    if any(call.facts[attribute] not in values for attribute, values in row["scope"].items()):
        return False
    if row["per"] is not None and call.facts[row["per"]] != row["instance"]:
        return False
    start, end = row["window_start"], row["resets_at"]
    return (start is None or _ns(start) <= call.at_ns) and (end is None or call.at_ns < _ns(end))


def limits(rows: Sequence[Mapping[str, Any]]) -> Verdict:
    """Recorded <= limit in every hard window."""
    hard = [row for row in rows if row["mode"] == "hard"]
    over = [
        f"{row['name']}[{row['instance']}] has {row['posted']} posted of {row['limit']}"
        for row in hard
        if amount_of(row, "posted") > amount_of(row, "limit")
    ]
    fullest = max((amount_of(row, "posted") / amount_of(row, "limit") for row in hard), default=0.0)
    return judge("recorded <= limit, in every window", over, f"{len(hard)} windows", f"{fullest:.1%} in the fullest")


def same(what: str, one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Verdict:
    """Two readings of the same windows agree. A window nobody drew on may be shown or not."""
    before, after = _by_window(one), _by_window(other)
    wrong = [
        f"{key}: {before.get(key)} and {after.get(key)}"
        for key in before.keys() | after.keys()
        if before.get(key, 0) != after.get(key, 0)
    ]
    return judge(what, wrong, f"{sum(before.values())} posted", f"{sum(after.values())} posted")


def picture(books: Books, *, bounded: bool) -> list[str]:
    """What is wrong with one picture of the store, taken while calls are in flight."""
    posted: dict[Key, Sum] = {}
    held: dict[Key, Sum] = {}
    for part in books.parts:
        _add(posted, part.windows, part.charge)
    for call in books.holds.values():
        _add(held, call.windows, call.held)
    wrong = [
        f"{key} has {books.balances.get(key)} posted; its calls come to {posted.get(key)}"
        for key in posted.keys() | books.balances.keys()
        if not _is_late(key) and posted.get(key, Sum()) != books.balances.get(key, Sum())
    ]
    if bounded:
        wrong += _over(books, posted, held)
    return wrong


def _over(books: Books, posted: Mapping[Key, Sum], held: Mapping[Key, Sum]) -> Iterable[str]:
    for key in posted.keys() | held.keys():
        unit, limit = books.limits.get(key.budget.partition("#")[0], ("usd", None))
        drawn = posted.get(key, Sum()).plus(held.get(key, Sum())).of(unit)
        if limit is not None and drawn > limit:
            yield f"{key} has {drawn} posted and held of {limit}"


def overruns(books: Books, bill: Sequence[Billed]) -> list[Verdict]:
    """What overran is recorded as it was billed, marked, and named in a finding."""
    billed = bill_by_call(bill)
    named = {call for code, call, _ in books.findings if code == "overrun"}
    above = [call for call in books.attempts() if call.state == "posted" and call.charge.usd > call.held.usd]
    silent = [_says(call, billed.get(call.id, 0)) for call in above if not call.overrun or call.id not in named]
    untrue = [_says(call, billed.get(call.id, 0)) for call in above if billed.get(call.id, 0) != call.charge.usd]
    recorded = sum(call.charge.usd for call in above)
    stopped = sum("is quarantined" in sentence for code, _, sentence in books.findings if code == "overrun")
    return [
        judge(
            "overruns: recorded = billed", untrue, f"{recorded} recorded", f"{sum(billed[c.id] for c in above)} billed"
        ),
        judge("overruns are marked and named", silent, f"{len(above)} overran", f"{len(named)} in findings"),
        judge(
            "repeated overruns are quarantined",
            () if stopped else ["nothing was quarantined"],
            f"{len(books.bounds)} bounds raised",
            f"{stopped} quarantined",
        ),
    ]


def stopped(books: Books) -> Verdict:
    """Nothing was let in while it was stopped, by the gateway's own clock."""
    wrong = [f"{_says(part, 0)} while {each}" for each in books.stops for part in books.parts if each.forbids(part)]
    return judge("nothing passes while it is stopped", wrong, f"{len(books.stops)} stops", f"{len(wrong)} passed")


def headers_told(books: Books, charges: Mapping[str, str]) -> Verdict:
    """The charge that a caller was told is the one in the books, unless the gateway died before it was written."""
    wrong: list[str] = []
    for call_id, charge in charges.items():
        call = books.calls.get(call_id)
        if call is None or (call.charge.usd != nanos(charge) and call.outcome != "crashed"):
            wrong.append(f"{call_id} was told {charge} USD; the books have {call}")
    return judge("callers were told what is recorded", wrong, f"{len(charges)} answers", f"{len(wrong)} differ")


def clean(what: str, texts: Mapping[str, bytes], secrets: Mapping[str, str]) -> Verdict:
    """None of these secrets stands in any of these texts, and no traceback."""
    found = [
        f"{name} in {place}" for place, text in texts.items() for name, word in secrets.items() if word.encode() in text
    ]
    size = sum(map(len, texts.values()))
    return judge(what, found, f"{size} bytes", f"{len(secrets)} words looked for")


def none_of(what: str, wrong: Sequence[str], of: int) -> Verdict:
    return judge(what, wrong, f"{of} times", f"{len(wrong)} wrong")


def amount_of(row: Mapping[str, Any], field: str) -> int:
    return nanos(row[field]) if row["unit"] == "usd" else int(row[field])


def _by_window(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], int]:
    found = {(row["name"], row["instance"], str(row["window_start"])): amount_of(row, "posted") for row in rows}
    return {key: posted for key, posted in found.items() if posted}


def _add(sums: dict[Key, Sum], windows: Iterable[Key], amount: Sum) -> None:
    for key in windows:
        sums[key] = sums.get(key, Sum()).plus(amount)


def _is_late(key: Key) -> bool:
    """A budget that came in the middle begins with what was spent before."""
    return key.budget.startswith(f"{LATE_BUDGET}#")


def _says(call: Call, billed: int) -> str:
    return (
        f"{call.id} {call.state} ({call.outcome}, {call.facts['provider']}/{call.facts['model']}): "
        f"recorded {call.charge.usd}, billed {billed}, held {call.held.usd}"
    )


def _ns(instant: str) -> int:
    moment = datetime.fromisoformat(instant)
    return int(moment.timestamp()) * _EPOCH_NS
