"""Which remedy is tried next, as a table."""

import pytest

from comptroller.core.policy.remedy import Kind, Remedy, Step, choose, parse_remedy
from comptroller.core.policy.verdict import Verdict, next_step
from comptroller.core.problem import Fault
from tests.policy.samples import policies, request

CAP8, CAP4 = Remedy("cap_input", "8000"), Remedy("cap_input", "4000")
SMALL, MID = Remedy("route", "small"), Remedy("route", "mid-1")
FINOPS, LEGAL = Remedy("approval", "finops"), Remedy("approval", "legal")

TABLE: list[tuple[list[Remedy | None], set[Kind], Step | None]] = [
    ([], set(), None),
    ([None], set(), None),
    ([CAP8], set(), Step(CAP8, ("p0",))),
    ([CAP8, None], set(), None),
    ([CAP8, CAP4], set(), Step(CAP4, ("p0", "p1"))),
    ([FINOPS, SMALL, CAP8], set(), Step(CAP8, ("p2",))),
    ([FINOPS, SMALL], set(), Step(SMALL, ("p1",))),
    ([FINOPS, SMALL], {"cap_input"}, Step(SMALL, ("p1",))),
    ([FINOPS, SMALL], {"route"}, None),  # the forbid that has a route is not lifted by it
    ([FINOPS], {"route", "cap_input"}, Step(FINOPS, ("p0",))),
    ([FINOPS, LEGAL], set(), Step(FINOPS, ("p0",))),
    ([FINOPS, LEGAL, FINOPS], set(), Step(FINOPS, ("p0", "p2"))),
    ([SMALL, MID], set(), Step(SMALL, ("p0",))),
    ([SMALL], {"route"}, None),
    ([CAP8], {"cap_input"}, None),
    ([FINOPS], {"approval"}, None),
]


@pytest.mark.parametrize(("remedies", "taken", "step"), TABLE)
def test_the_next_step(remedies: list[Remedy | None], taken: set[Kind], step: Step | None) -> None:
    assert choose([(f"p{number}", remedy) for number, remedy in enumerate(remedies)], taken) == step


def test_only_a_denial_by_forbids_is_remedied() -> None:
    found = policies(
        '@id("p") permit (principal in Team::"search", action, resource);'
        '@id("f") @remedy("route:small") forbid (principal, action, resource in ModelClass::"frontier");'
    )
    assert next_step(found.decide(request()), ()) == Step(SMALL, ("f",))
    assert next_step(found.decide(request(model_class="small")), ()) is None, "allowed"
    assert next_step(found.decide(request(model_class="small", team="support")), ()) is None, "no permit"
    denied = found.decide(request())
    assert next_step(Verdict(False, denied.determining, ("an error",), denied.version), ()) is None


@pytest.mark.parametrize("text", ["cap_input:8000", "route:small", "route:gpt-4o/2024+x:y@z", "approval:fin-ops@acme"])
def test_a_remedy_reads_as_it_is_written(text: str) -> None:
    assert str(parse_remedy(text)) == text


@pytest.mark.parametrize("text", ["", "cap_input", "cap_input:", "route: small", "ROUTE:small", "cap_input:1e3", "x:y"])
def test_what_is_no_remedy(text: str) -> None:
    with pytest.raises(Fault):
        parse_remedy(text)
