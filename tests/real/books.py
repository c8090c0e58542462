"""The comparison: the gateway's books, read through its command line, against the model server's counters."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tests.real.caller import Answer, Caller
from tests.real.gateway import IDENTITY, TIGHT_BUDGET, TIGHT_IDENTITY, TIGHT_LIMIT, WIDE_BUDGET, Gateway, Row, usd
from tests.real.model import ModelServer
from tests.real.phases import PHASES, TIGHT, Phase
from tests.real.processes import wait_until
from tests.real.report import Report
from tests.real.tokens import Prices, Tokens, format_usd, total

IDLE_S = 60.0
SETTLE_S = 30.0


@dataclass(frozen=True)
class Seen:
    """One phase from three sides: what the caller saw, what we recorded, what the model server counted."""

    phase: Phase
    answers: list[Answer]
    rows: list[Row]
    counted: Tokens


class Run:
    """The gateway in front of the model server, driven phase by phase."""

    def __init__(self, report: Report, model: ModelServer, gateway: Gateway, prices: Prices) -> None:
        self.report = report
        self.model = model
        self.gateway = gateway
        self.prices = prices
        self._known: set[str] = set()
        self._exact: list[Seen] = []

    def _settled(self) -> bool:
        return all(usd(state["held"]) == 0 for state in self.gateway.budgets().values())

    def drive(self, phase: Phase, caller: Caller) -> Seen:
        """Run one phase, wait for quiet on both sides, and read both."""
        before = self.model.counted()
        answers = phase.drive(caller)
        self.model.wait_idle(IDLE_S)
        wait_until(self._settled, f"no budget holds anything after '{phase.name}'", SETTLE_S)
        rows = self.gateway.rows()
        new = [row for key, row in rows.items() if key not in self._known]
        self._known.update(rows)
        return Seen(phase, answers, new, self.model.counted() - before)

    def judge(self, seen: Seen) -> None:
        """Compare one phase's books with its counters."""
        same_calls(self.report, seen)
        if seen.phase.exact:
            self._exact.append(seen)
            exact(self.report, seen, self.prices)
        else:
            bounded(self.report, seen, self.prices)

    def all(self) -> None:
        """Every phase, then what must hold over all of them."""
        caller = Caller(self.gateway.base_url, self.gateway.token(IDENTITY))
        for phase in PHASES:
            seen = self.drive(phase, caller)
            self.judge(seen)
        tight = Caller(self.gateway.base_url, self.gateway.token(TIGHT_IDENTITY))
        seen = self.drive(TIGHT, tight)
        self.judge(seen)
        refusal(self.report, seen)
        sums(self.report, self._exact)
        self.close([caller.client.api_key, tight.client.api_key])

    def close(self, credentials: list[str]) -> None:
        """Over everything: budgets against rows, holds against charges, secrets, a clean end."""
        rows = list(self.gateway.rows().values())
        budgets = self.gateway.budgets()
        wide, tight = usd(budgets[WIDE_BUDGET]["posted"]), usd(budgets[TIGHT_BUDGET]["posted"])
        tight_rows = [row for row in rows if row.identity.endswith(TIGHT_IDENTITY)]
        report, name = self.report, "everything"
        report.compare(name, "calls charged above their hold", sum(row.charge > row.held for row in rows), "==", 0)
        report.compare(name, f"sum of rows, budget {WIDE_BUDGET}", charges(rows), "==", wide)
        report.compare(name, f"sum of rows, budget {TIGHT_BUDGET}", charges(tight_rows), "==", tight)
        report.compare(name, f"budget {TIGHT_BUDGET}, its limit", tight, "<=", usd(TIGHT_LIMIT))
        report.compare(name, "exit code after SIGTERM", self.gateway.child.stop(), "==", 0)
        for secret, what in [(self.model.key, "provider key"), *[(key, "credential") for key in credentials]]:
            found = ", ".join(self.gateway.files_with(secret)) or "none"
            report.compare(name, f"files that show the {what}", found, "==", "none")


def charges(rows: list[Row]) -> Fraction:
    """The sum of the charges, in USD."""
    return sum((row.charge for row in rows), Fraction(0))


def same_calls(report: Report, seen: Seen) -> None:
    """Each call of the caller is one row, and each row one call."""
    report.compare(seen.phase.name, "rows, calls made", len(seen.rows), "==", len(seen.answers))


def exact(report: Report, seen: Seen, prices: Prices) -> None:
    """Every call completed: tokens equal the counters and the caller's own usage, charges equal the prices."""
    name, counted = seen.phase.name, seen.counted
    ours = total(row.tokens for row in seen.rows)
    report.compare(name, "input tokens", ours.input, "==", counted.input)
    report.compare(name, "of these cached", ours.cached, "==", counted.cached)
    report.compare(name, "output tokens", ours.output, "==", counted.output)
    expected = sum((prices.charge_usd(row.tokens) for row in seen.rows), Fraction(0))
    report.compare(name, "charges, computed apart", charges(seen.rows), "==", expected)
    report.compare(name, "calls that stand out", standing_out(seen), "==", "none")


def sums(report: Report, phases: list[Seen]) -> None:
    """Over all phases whose calls completed: the tokens, and that the prompt cache was really read."""
    name = "all completed calls"
    ours, counted = total(row.tokens for seen in phases for row in seen.rows), total(seen.counted for seen in phases)
    report.compare(name, "input tokens", ours.input, "==", counted.input)
    report.compare(name, "of these cached", ours.cached, "==", counted.cached)
    report.compare(name, "output tokens", ours.output, "==", counted.output)
    report.compare(name, "cached tokens at all", ours.cached, ">", 0)


def standing_out(seen: Seen) -> str:
    """Calls recorded otherwise than the caller was told, presumed, or told usage against the caller's wish."""
    rows = {row.id: row for row in seen.rows}
    found = [f"{row.id} is presumed" for row in seen.rows if row.presumed]
    for answer in seen.answers:
        row = rows.get(answer.call_id or "")
        found += [f"{answer.call_id}: {fault}" for fault in faults(answer, row)]
    return f"{len(found)}, first: {found[0]}" if found else "none"


def faults(answer: Answer, row: Row | None) -> list[str]:
    """What is wrong between one answer and its row."""
    if row is None:
        return ["has no row"]
    found = []
    if answer.usage is not None and answer.usage != row.tokens:
        found.append(f"told {answer.usage}, recorded {row.tokens}")
    if answer.charge_usd is not None and usd(answer.charge_usd) != row.charge:
        found.append(f"told {answer.charge_usd} USD, recorded {format_usd(row.charge)}")
    if answer.status == 200 and (answer.usage is not None) != answer.asked_usage:
        found.append("asked for usage and was told none" if answer.asked_usage else "told usage unasked")
    if answer.usage_chunks > 1:
        found.append("told usage twice")
    return found


def bounded(report: Report, seen: Seen, prices: Prices) -> None:
    """The caller left, so nobody was told a usage for sure: what we recorded covers what was counted.

    Money is compared, for a presumed row may count the prompt by its bound. A row whose usage did arrive is not
    presumed, and then the tokens must be equal as well.
    """
    name, counted = seen.phase.name, seen.counted
    owed, recorded = prices.exact_usd(counted), charges(seen.rows)
    held = sum((row.held for row in seen.rows), Fraction(0))
    presumed = sum(row.presumed for row in seen.rows)
    ours = total(row.tokens for row in seen.rows)
    report.compare(name, "charges, cost of what was counted", recorded, ">=", owed)
    report.compare(name, "charges, holds", recorded, "<=", held)
    report.compare(name, f"output tokens ({presumed} presumed)", ours.output, ">=", counted.output)
    if not presumed:
        report.compare(name, "tokens", str(ours), "==", str(counted))


def refusal(report: Report, seen: Seen) -> None:
    """The last call was refused, once, in words, at a status at which the SDK does not try again."""
    name, last = seen.phase.name, seen.answers[-1]
    admitted = sum(answer.status == 200 for answer in seen.answers)
    report.compare(name, "calls admitted before the refusal", admitted, ">", 0)
    report.compare(name, "refusal's HTTP status", last.status, "==", 402)
    report.compare(name, "refusal's code", str(last.code), "==", "budget_exhausted")
    report.compare(name, "refusal names the budget", int(TIGHT_BUDGET in last.message), "==", 1)
    refused = [row for row in seen.rows if row.refusal is not None]
    report.compare(name, "rows refused (the SDK did not retry)", len(refused), "==", 1)
    report.compare(name, "charge of the refused call", charges(refused), "==", Fraction(0))
