"""How tests end, direct and through the gateway, and what may differ: values, no processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

PASSED = "passed"


@dataclass(frozen=True)
class Outcome:
    """One test, as tests/suites/reporter.py writes it down. What was answered is there if an HTTP error ended it."""

    test: str
    outcome: str
    said: str = ""
    asked: str = ""
    status: int = 0
    by_provider: bool = False
    code: str = ""

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED

    @property
    def file(self) -> str:
        """Without the folder that all of them are in."""
        return self.test.partition("::")[0].removeprefix("tests/api_resources/")


Outcomes = Mapping[str, Outcome]


@dataclass(frozen=True)
class Design:
    """Why the gateway refuses what the mock server takes: one code, on routes that match, where its text has this."""

    code: str
    routes: str
    why: str
    says: str = ""

    def explains(self, outcome: Outcome) -> bool:
        told = outcome.code == self.code and self.says in outcome.said
        return told and not outcome.by_provider and fnmatch(outcome.asked, self.routes)


@dataclass(frozen=True)
class Row:
    """What the table says of one file of tests."""

    file: str
    direct: int = 0  # pass without the gateway
    through: int = 0  # of those, pass through it
    refused: Mapping[str, int] | None = None  # of those, refused as designed, by code
    wrong: tuple[str, ...] = ()

    @property
    def served(self) -> bool:
        """Whether the gateway has a route of it."""
        return bool(self.through) or any(code != "route_unknown" for code in self.refused or {})


def compare(direct: Outcomes, through: Outcomes, designs: Sequence[Design]) -> list[Row]:
    """One row a file, in order of their names. What passes direct passes through, or is refused by a design."""
    rows: dict[str, Row] = {}
    for name in sorted(direct.keys() | through.keys()):
        before, after = direct.get(name), through.get(name)
        file = (before or after or Outcome(name, "")).file
        rows[file] = _counted(rows.get(file, Row(file)), name, before, after, designs)
    return list(rows.values())


def _counted(row: Row, name: str, before: Outcome | None, after: Outcome | None, designs: Sequence[Design]) -> Row:
    if before is None or after is None:
        return _wrong(row, f"{name}: was not run {'direct' if before is None else 'through the gateway'}")
    if not before.passed:
        made = after.passed and before.outcome != after.outcome
        return _wrong(row, f"{name}: fails direct and passes through the gateway") if made else row
    facts = {**row.__dict__, "direct": row.direct + 1}
    if after.passed:
        return Row(**{**facts, "through": row.through + 1})
    if any(design.explains(after) for design in designs):
        refused = dict(row.refused or {})
        refused[after.code] = refused.get(after.code, 0) + 1
        return Row(**{**facts, "refused": refused})
    answer = f"{after.asked} {after.status} {after.code}" if after.asked else after.outcome
    return _wrong(Row(**facts), f"{name}: {answer}: {after.said}")


def _wrong(row: Row, words: str) -> Row:
    return Row(**{**row.__dict__, "wrong": (*row.wrong, words)})


def unserved(through: Outcomes) -> list[str]:
    """Every route that was refused as one that the gateway does not have."""
    return sorted({each.asked for each in through.values() if each.code == "route_unknown" and not each.by_provider})
