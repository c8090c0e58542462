"""The tables [approvals.ROLE]: what they may say, and the roles and budgets that come of them."""

from typing import Any

import pytest

from comptroller.core.approval.role import ApprovalRole
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import StoredEntry
from tests.registry.documents import example, read

ROLE: dict[str, Any] = {"approvers": ["maria@acme.example"], "escalate_to": "cfo", "four_eyes_above_usd": "100.00"}
BOTH = {"finops": ROLE, "cfo": {}}


def test_roles_come_as_they_are_written() -> None:
    entries = read(example() | {"approvals": BOTH}).entries
    registry = build({key: StoredEntry(entry) for key, entry in entries.items()}, 1)
    assert registry.approvals == {
        "finops": ApprovalRole("finops", ("maria@acme.example",), "cfo", four_eyes_above_nanos=100 * 10**9),
        "cfo": ApprovalRole("cfo"),
    }


@pytest.mark.parametrize(
    ("approvals", "where"),
    [
        ({"finops": {"escalate_to": "cof"}, "cfo": {}}, "approvals.finops.escalate_to"),
        ({"finops": {"escalate_to": "finops"}}, "approvals.finops.escalate_to"),
        ({"a": {"escalate_to": "b"}, "b": {"escalate_to": "a"}}, "approvals.a.escalate_to"),
        ({"finops": {"approvers": ["gateway"]}}, "approvals.finops.approvers"),
        ({"finops": {"approvers": []}}, "approvals.finops.approvers"),
        ({"finops": {"four_eyes_above_usd": 100}}, "approvals.finops.four_eyes_above_usd"),
        ({"finops": {"four_eyes_above_usd": "unbounded"}}, "approvals.finops.four_eyes_above_usd"),
        ({"finops": {"answer_within_s": 59}}, "approvals.finops.answer_within_s"),
        ({"finops": {"max_uses": 0}}, "approvals.finops.max_uses"),
        ({"finops": {"longest_s": "a day"}}, "approvals.finops.longest_s"),
        ({"finops": {"ask": "maria"}}, "approvals.finops.ask"),
    ],
)
def test_what_is_wrong_is_said_where_it_stands(approvals: dict[str, Any], where: str) -> None:
    found = read_document(example() | {"approvals": approvals})
    assert isinstance(found, list)
    assert where in {each.where for each in found}


@pytest.mark.parametrize(("owner", "known"), [("finops", True), ("finopss", False)])
def test_a_budget_is_owned_by_a_role_that_is_there(owner: str, known: bool) -> None:
    raw = example() | {"approvals": BOTH}
    raw["budgets"][0]["owner_role"] = owner
    found = read_document(raw)
    assert isinstance(found, list) != known
