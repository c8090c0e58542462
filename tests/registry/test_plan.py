"""Plan and install: what is different is said, done once, and never loses anything."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from comptroller.core.registry.entries import ORGANIZATION, Entry, Installed, StoredEntry
from comptroller.core.registry.plan import install, plan, say_key
from tests.registry.documents import example, read, registries


def installed(*files: dict[str, Any]) -> Installed:
    """The files, one after the other, into an empty store."""
    state: Installed = {}
    for raw in files:
        state = install(state, plan(state, read(raw).entries))
    return state


def sentences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [change.sentence for change in plan(installed(before), read(after).entries).changes]


def test_what_is_new_is_added_in_the_order_of_the_file() -> None:
    found = plan({}, read(example()).entries)
    assert [change.sentence for change in found.changes] == [
        "add the organization: name acme, trust_domain acme.example",
        "add team search: cost_center CC-100",
        "add owner search-lead@acme.example: team search",
        "add identity agent/scout: kind agent, team search, owner search-lead@acme.example, purpose 'answers product"
        " questions', environment production, risk_tier low, expires 2027-06-30",
        "add model sandbox-*: providers sandbox, class frontier, max_output_tokens 16384, overhead_tokens 256,"
        " visible_output false",
        "add price of sandbox-large from 2026-01-01: input 3.00, output 15.00, cache_read 0.30",
        "add budget search-month: scope team search, limit 200.00 USD, window month, time_zone Europe/Berlin,"
        " per identity, mode hard, visible caller",
    ]


def test_nothing_is_different_twice() -> None:
    assert plan(installed(example()), read(example()).entries).empty


def test_a_change_says_before_and_after() -> None:
    after = example()
    after["budgets"][0] |= {"limit": "150 USD", "mode": "shadow", "soft": ["80% notify", "50.50% notify"]}
    del after["identities"]["agent/scout"]["expires"]
    after["identities"]["agent/scout"]["deputy"] = "search-lead@acme.example"
    after["prices"][0]["input"] = "3.10"
    after["models"]["sandbox-*"]["providers"] = ["sandbox", "local"]
    assert sentences(example(), after) == [
        "change identity agent/scout: deputy nothing -> search-lead@acme.example; expires 2027-06-30 -> nothing",
        "change model sandbox-*: providers sandbox -> sandbox or local",
        "change price of sandbox-large from 2026-01-01: input 3.00 -> 3.10",
        "change budget search-month: limit 200.00 USD -> 150.00 USD; mode hard -> shadow; "
        "soft nothing -> 50.5% notify, 80% notify",
    ]


def test_another_spelling_is_no_change() -> None:
    after = example()
    after["budgets"][0] |= {"limit": "200 USD", "scope": {"team": ["search"]}}
    after["prices"][0]["input"] = "3"
    after["identities"]["agent/scout"]["purpose"] += " "
    assert sentences(example(), after) == []


def test_what_the_file_leaves_out_is_disabled_and_can_come_back() -> None:
    without = example()
    del without["budgets"]
    del without["identities"]
    assert sentences(example(), without) == [
        "disable identity agent/scout: the file does not name it any more",
        "disable budget search-month: the file does not name it any more",
    ]
    state = installed(example(), without)
    assert state["identity", "agent/scout"].disabled
    assert plan(state, read(without).entries).empty, "disabled once is enough"
    again = example()
    again["budgets"][0]["limit"] = "1 USD"
    back = plan(state, read(again).entries)
    assert [change.sentence for change in back.changes] == [
        "enable identity agent/scout: as it was",
        "enable budget search-month: limit 200.00 USD -> 1.00 USD",
    ]
    assert install(state, back) == installed(again)


def test_a_budget_that_leaves_force_is_worth_a_warning() -> None:
    without = example()
    del without["budgets"]
    document = read(without)
    found = plan(installed(example()), document.entries, document.warnings)
    assert [one.where for one in found.warnings] == ['identities."agent/scout"', "budget search-month"]


def test_another_trust_domain_is_worth_a_warning() -> None:
    after = example()
    after["organization"]["trust_domain"] = "acme.test"
    (warning,) = plan(installed(example()), read(after).entries).warnings
    assert "every credential" in warning.sentence


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("m||default|2026-01-01", "price of m from 2026-01-01"),
        ("m|p|default|2026-01-01", "price of m on p from 2026-01-01"),
        ("m|p|priority|2026-01-01", "price of m on p from 2026-01-01, tier priority"),
    ],
)
def test_a_price_is_named_by_what_it_is_for(key: str, said: str) -> None:
    assert say_key("price", key) == said


@settings(max_examples=40)
@given(registries(), registries())
def test_a_plan_carried_out_leaves_nothing_to_plan(one: dict[str, Any], two: dict[str, Any]) -> None:
    state = installed(one, two)
    wanted = read(two).entries
    assert plan(state, wanted).empty
    assert {key for key, stored in state.items() if not stored.disabled} == wanted.keys()
    assert state.keys() == read(one).entries.keys() | wanted.keys(), "nothing is deleted"
    assert all(state[key] == StoredEntry(entry) for key, entry in wanted.items())


@settings(max_examples=40)
@given(registries(), registries())
def test_what_is_said_is_what_changes(one: dict[str, Any], two: dict[str, Any]) -> None:
    before = installed(one)
    found = plan(before, read(two).entries)
    after = install(before, found)
    said = {(change.kind, change.key) for change in found.changes}
    assert said == {key for key in after if after[key] != before.get(key)}
    assert len(said) == len(found.changes)
    assert all(change.sentence.isprintable() for change in found.changes)


@given(registries())
def test_an_entry_survives_the_database(raw: dict[str, Any]) -> None:
    entries = read(raw).entries
    rows = {key: msgspec.json.encode(entry) for key, entry in entries.items()}
    assert {key: msgspec.json.decode(row, type=Entry) for key, row in rows.items()} == entries
    assert ORGANIZATION in entries
