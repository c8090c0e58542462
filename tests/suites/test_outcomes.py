"""What `make suites` calls the same, refused by design, and wrong; and that its page says every design."""

import pytest

from tests.clients.recipes import PAGE
from tests.suites.designs import DESIGNS
from tests.suites.outcome import Design, Outcome, Row, compare, unserved

FILE = "tests/api_resources/test_files.py"
TEST = f"{FILE}::TestFiles::test_method_retrieve[strict]"
GONE = Design("object_not_found", "GET /v1/files/*", "it is gone", "no file")
PASSES = Outcome(TEST, "passed")
FAILS = Outcome(TEST, "failed", said="AssertionError")
REFUSED = Outcome(TEST, "failed", "There is no file.", "GET /v1/files/a", 404, code="object_not_found")


def one(before: Outcome, after: Outcome) -> Row:
    rows = compare({TEST: before}, {TEST: after}, [GONE])
    assert [row.file for row in rows] == ["test_files.py"]
    return rows[0]


def test_what_passes_in_both_runs_is_the_same() -> None:
    assert one(PASSES, PASSES) == Row("test_files.py", direct=1, through=1)


def test_what_fails_in_both_runs_is_not_counted() -> None:
    assert one(FAILS, FAILS) == Row("test_files.py")


def test_a_refusal_that_a_design_explains_is_counted_by_its_code() -> None:
    assert one(PASSES, REFUSED) == Row("test_files.py", direct=1, refused={"object_not_found": 1})


@pytest.mark.parametrize(
    "after",
    [
        FAILS,
        Outcome(TEST, "failed", "There is no file.", "POST /v1/files", 404, code="object_not_found"),
        Outcome(TEST, "failed", "There is no file.", "GET /v1/files/a", 404, code="session_ended"),
        Outcome(TEST, "failed", "There is nothing.", "GET /v1/files/a", 404, code="object_not_found"),
        Outcome(TEST, "failed", "There is no file.", "GET /v1/files/a", 404, by_provider=True, code="object_not_found"),
    ],
    ids=["no answer", "another route", "another code", "another text", "the provider's own"],
)
def test_everything_else_is_wrong(after: Outcome) -> None:
    row = one(PASSES, after)
    assert (row.direct, row.through, row.refused) == (1, 0, None)
    assert [words.startswith(TEST) for words in row.wrong] == [True]


def test_a_test_that_was_not_run_in_both_is_wrong() -> None:
    assert "not run through the gateway" in compare({TEST: PASSES}, {}, [GONE])[0].wrong[0]
    assert "not run direct" in compare({}, {TEST: PASSES}, [GONE])[0].wrong[0]


def test_a_test_that_only_the_gateway_makes_pass_is_wrong() -> None:
    assert "fails direct" in one(FAILS, PASSES).wrong[0]


def test_routes_that_are_not_served_are_listed_once() -> None:
    refused = Outcome(TEST, "failed", asked="GET /v1/videos", status=404, code="route_unknown")
    assert unserved({"a": refused, "b": refused, "c": REFUSED}) == ["GET /v1/videos"]


def test_the_page_says_every_design() -> None:
    page = (PAGE.parent / "suites.md").read_text(encoding="utf-8")
    for design in DESIGNS:
        assert f"| `{design.code}` |" in page, design
        assert design.why in page, design
