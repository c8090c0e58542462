"""registry.toml: what is right becomes entries, what is wrong is all said at once."""

import tomllib
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.problem import Problem, did_you_mean, join
from comptroller.core.registry.document import SECTIONS, read_document
from comptroller.core.registry.entries import Document
from comptroller.core.registry.references import unknown_providers
from tests.registry.documents import example, read, registries
from tests.registry.test_plan import installed

Edit = Callable[[dict[str, Any]], None]
SCOUT = 'identities."agent/scout"'


def change(*path: str | int, to: Any) -> Edit:
    def edit(raw: dict[str, Any]) -> None:
        place: Any = raw
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return edit


def leave_out(*path: str | int) -> Edit:
    def edit(raw: dict[str, Any]) -> None:
        place: Any = raw
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return edit


def scout(field: str, to: Any) -> Edit:
    return change("identities", "agent/scout", field, to=to)


def model(field: str, to: Any) -> Edit:
    return change("models", "sandbox-*", field, to=to)


def price(field: str, to: Any) -> Edit:
    return change("prices", 0, field, to=to)


def budget(field: str, to: Any) -> Edit:
    return change("budgets", 0, field, to=to)


def retry(field: str, to: Any) -> Edit:
    return lambda raw: raw.update(retries=[{"name": "r", "scope": {"team": "search"}, field: to}])


def budget_of(**fields: Any) -> Edit:
    """A budget of another scope, where one of a tool or of a model must not be asked for in the other's units."""

    def edit(raw: dict[str, Any]) -> None:
        raw["tools"] = {"files/*": {}}
        raw["budgets"][0].update(fields)

    return edit


def tool_price(**fields: Any) -> Edit:
    return lambda raw: raw["prices"].append({"from": date(2026, 1, 1), **fields})


WRONG_SHARES = (0.1, 10, "10", "101%", "100.01%", "-1%", "1.005%", " 5%", "%", "1e1%", "\u0661%")


def again(section: str) -> Edit:
    return lambda raw: raw[section].append(dict(raw[section][0]))


# What was done to a file that was right; where the problem is; words of its line.
PROBLEMS: list[tuple[Edit, str, str]] = [
    (change("team", to={}), "team", "Did you mean 'teams'?"),
    (change("policies", to={}), "policies", "Nothing here has this name."),
    (leave_out("organization"), "organization", "missing"),
    (change("organization", to="acme"), "organization", "must be a table, not a text"),
    (leave_out("organization", "name"), "organization.name", "mandatory"),
    (leave_out("organization", "trust_domain"), "organization.trust_domain", "mandatory"),
    (change("organization", "trust_domain", to="Acme Example"), "organization.trust_domain", "not a trust domain"),
    (change("organization", "trust_domian", to="x"), "organization.trust_domian", "Did you mean 'trust_domain'?"),
    (change("teams", to=[]), "teams", "[teams.NAME], not a list"),
    (change("teams", "", to={}), 'teams.""', "This is empty|is not a name"),
    (change("teams", "a b", to={}), 'teams."a b"', "'a b' is not a name"),
    (change("teams", "search", to=3), "teams.search", "must be a table, not a whole number"),
    (
        change("teams", "search", "cost_center", to=100),
        "teams.search.cost_center",
        "text in quotes, not a whole number",
    ),
    (change("teams", "search", "cost_center", to=" "), "teams.search.cost_center", "empty"),
    (change("teams", "search", "cost_centre", to="x"), "teams.search.cost_centre", "Did you mean 'cost_center'?"),
    (
        change("owners", "search-lead@acme.example", "team", to="serach"),
        'owners."search-lead@acme.example".team',
        "There is no team 'serach'. Did you mean 'search'?",
    ),
    (leave_out("owners"), f"{SCOUT}.owner", "There is no owner"),
    (change("identities", "scout", to={}), "identities.scout", "kind/name"),
    (change("identities", "agent/../boss", to={}), 'identities."agent/../boss"', "is not an identity id"),
    (leave_out("identities", "agent/scout", "owner"), f"{SCOUT}.owner", "mandatory"),
    (leave_out("identities", "agent/scout", "purpose"), f"{SCOUT}.purpose", "mandatory"),
    (leave_out("identities", "agent/scout", "kind"), f"{SCOUT}.kind", "mandatory"),
    (leave_out("identities", "agent/scout", "team"), f"{SCOUT}.team", "mandatory"),
    (leave_out("identities", "agent/scout", "environment"), f"{SCOUT}.environment", "mandatory"),
    (scout("purpose", ""), f"{SCOUT}.purpose", "empty"),
    (scout("purpose", "two\nlines"), f"{SCOUT}.purpose", "one line"),
    (scout("purpose", "x" * 501), f"{SCOUT}.purpose", "at most 500"),
    (scout("kind", "agnet"), f"{SCOUT}.kind", "Did you mean 'agent'?"),
    (scout("environment", "prod"), f"{SCOUT}.environment", "not one of production, testing, experimentation"),
    (scout("risk_tier", "none"), f"{SCOUT}.risk_tier", "not one of low, medium, high, critical"),
    (scout("team", "nobody"), f"{SCOUT}.team", "There is no team 'nobody'. Known: search."),
    (scout("owner", "search-laed@acme.example"), f"{SCOUT}.owner", "Did you mean 'search-lead@acme.example'?"),
    (scout("deputy", "nobody"), f"{SCOUT}.deputy", "There is no owner 'nobody'"),
    (scout("expires", "2027-06-30"), f"{SCOUT}.expires", "without quotes"),
    (scout("expires", datetime(2027, 6, 30, tzinfo=UTC)), f"{SCOUT}.expires", "not a date with a time"),
    (scout("data_classes", ["pii", "pii"]), f"{SCOUT}.data_classes", "named twice"),
    (scout("data_classes", [1]), f"{SCOUT}.data_classes", "text in quotes"),
    (scout("disabled", True), f"{SCOUT}.disabled", "Nothing here has this name"),
    (change("models", "a model", to={}), 'models."a model"', "is not a model"),
    (change("models", "gpt-[45]", to={}), 'models."gpt-[45]"', "is not a model"),
    (leave_out("models", "sandbox-*", "providers"), 'models."sandbox-*".providers', "mandatory"),
    (model("providers", []), 'models."sandbox-*".providers', "empty"),
    (model("providers", ["p", "p"]), 'models."sandbox-*".providers', "'p' is named twice"),
    (model("max_output_tokens", 0), 'models."sandbox-*".max_output_tokens', "not between 1"),
    (model("max_output_tokens", True), 'models."sandbox-*".max_output_tokens', "whole number, not true or false"),
    (model("max_output_tokens", 1.5), 'models."sandbox-*".max_output_tokens', "not a number with decimals"),
    (model("max_output_tokens", "16384"), 'models."sandbox-*".max_output_tokens', "not a text"),
    (model("context_window", 10**10), 'models."sandbox-*".context_window', "not between"),
    (model("overhead_tokens", -1), 'models."sandbox-*".overhead_tokens', "not between 0"),
    (model("min_output_tokens", 20_000), 'models."sandbox-*".min_output_tokens', "more than the model's"),
    (model("output_limit_field", "max_token"), 'models."sandbox-*".output_limit_field', "Did you mean 'max_tokens'?"),
    (model("upstream_model", {"sandbox": "org/m"}), 'models."sandbox-*".upstream_model', "an entry of its own"),
    (model("upstream_model", {"other": "org/m"}), 'models."sandbox-*".upstream_model.other', "Name it in `providers`."),
    (model("upstream_model", {"sandbox": "a b"}), 'models."sandbox-*".upstream_model', "Use letters"),
    (model("upstream_model", "m"), 'models."sandbox-*".upstream_model', "This must be a table"),
    (model("visible_output", "yes"), 'models."sandbox-*".visible_output', "true or false"),
    (model("klass", "x"), 'models."sandbox-*".klass', "Did you mean 'class'?"),
    (change("prices", to={}), "prices", "list of [[prices]]"),
    (change("prices", 0, to="free"), "prices[1]", "must be a table"),
    (leave_out("prices", 0, "model"), "prices[1].model", "mandatory"),
    (leave_out("prices", 0, "from"), "prices[1].from", "mandatory"),
    (leave_out("prices", 0, "input"), "prices[1].input", "mandatory"),
    (leave_out("prices", 0, "output"), "prices[1].output", "mandatory"),
    (price("input", 3.0), "prices[1].input", "text in quotes, not a number with decimals"),
    (price("input", 3), "prices[1].input", "text in quotes, not a whole number"),
    (price("input", "-3.00"), "prices[1].input", "below zero"),
    (price("input", "3,00"), "prices[1].input", "'3,00' is not an amount"),
    (price("input", "3.00 USD"), "prices[1].input", "is not an amount"),
    (price("output", "0.0000000001"), "prices[1].output", "at most 9 decimals"),
    (price("output", "1000001"), "prices[1].output", "not believed"),
    (price("output", "\u0661"), "prices[1].output", "is not an amount"),
    (price("from", "2026-01-01"), "prices[1].from", "without quotes"),
    (price("cache_reed", "1"), "prices[1].cache_reed", "Did you mean 'cache_read'?"),
    (price("over_input_tokens", 200_000), "prices[1].over_input_tokens", "no line for shorter prompts"),
    (price("over_input_tokens", "200000"), "prices[1].over_input_tokens", "whole number"),
    (again("prices"), "prices[2]", "twice"),
    (change("budgets", to="none"), "budgets", "list of [[budgets]]"),
    (leave_out("budgets", 0, "name"), "budgets[1].name", "mandatory"),
    (budget("name", "a b"), 'budgets."a b".name', "is not a name"),
    (again("budgets"), "budgets.search-month", "twice"),
    (leave_out("budgets", 0, "scope"), "budgets.search-month.scope", "mandatory"),
    (budget("scope", {}), "budgets.search-month.scope", "organization"),
    (budget("scope", "search"), "budgets.search-month.scope", "must be a table"),
    (budget("scope", {"team": []}), "budgets.search-month.scope.team", "empty"),
    (budget("scope", {"team": 3}), "budgets.search-month.scope.team", "text in quotes"),
    (budget("scope", {"teem": "search"}), "budgets.search-month.scope.teem", "Did you mean 'team'?"),
    (budget("scope", {"team": "serach"}), "budgets.search-month.scope.team", "Did you mean 'search'?"),
    (budget("scope", {"team": ["search", "x"]}), "budgets.search-month.scope.team", "There is no team 'x'"),
    (budget("scope", {"organization": "acmee"}), "budgets.search-month.scope.organization", "Did you mean 'acme'?"),
    (budget("scope", {"owner": "x"}), "budgets.search-month.scope.owner", "There is no owner 'x'"),
    (budget("scope", {"identity": "agent/scuot"}), "budgets.search-month.scope.identity", "'agent/scout'?"),
    (budget("scope", {"environment": "prod"}), "budgets.search-month.scope.environment", "no environment 'prod'"),
    (budget("scope", {"kind": "robot"}), "budgets.search-month.scope.kind", "There is no kind 'robot'"),
    (budget("scope", {"provider": "sandbax"}), "budgets.search-month.scope.provider", "Did you mean 'sandbox'?"),
    (budget("scope", {"model_class": "cheap"}), "budgets.search-month.scope.model_class", "no model class 'cheap'"),
    (budget("scope", {"model": "gpt"}), "budgets.search-month.scope.model", "There is no model 'gpt'"),
    (budget("scope", {"model": "sandbox-*"}), "budgets.search-month.scope.model", "`model_class`"),
    (leave_out("budgets", 0, "limit"), "budgets.search-month.limit", "mandatory"),
    (budget("limit", 200), "budgets.search-month.limit", "text with its unit, not a whole number"),
    (budget("limit", "200"), "budgets.search-month.limit", "is not an amount with its unit"),
    (budget("limit", "200 EUR"), "budgets.search-month.limit", "'EUR' is not a unit"),
    (budget("limit", "200 usd"), "budgets.search-month.limit", "'usd' is not a unit"),
    (budget("limit", "5 call"), "budgets.search-month.limit", "Did you mean 'calls'?"),
    (budget("limit", "-1 USD"), "budgets.search-month.limit", "below zero"),
    (budget("limit", "-1 calls"), "budgets.search-month.limit", "not a whole number of calls"),
    (budget("limit", "1.5 tokens"), "budgets.search-month.limit", "not a whole number of tokens"),
    (budget("limit", "1_000_000_001 USD"), "budgets.search-month.limit", "more than can be counted"),
    (budget("limit", "9" * 30 + " tokens"), "budgets.search-month.limit", "more than can be counted"),
    (budget("limit", "9" * 9999 + " tokens"), "budgets.search-month.limit", "not a whole number of tokens"),
    (leave_out("budgets", 0, "window"), "budgets.search-month.window", "mandatory"),
    (budget("window", "monthly"), "budgets.search-month.window", "Did you mean 'month'?"),
    (budget("time_zone", "Europe/Berlinn"), "budgets.search-month.time_zone", "There is no time zone"),
    (budget("time_zone", "Europe"), "budgets.search-month.time_zone", "There is no time zone"),
    (budget("time_zone", "../../etc/passwd"), "budgets.search-month.time_zone", "is not a time zone"),
    (budget("per", "identitty"), "budgets.search-month.per", "Did you mean 'identity'?"),
    (budget("mode", "soft"), "budgets.search-month.mode", "not one of hard, shadow"),
    (budget("visible", "all"), "budgets.search-month.visible", "not one of caller, operator"),
    (budget("soft", 80), "budgets.search-month.soft", "text in quotes"),
    (budget("soft", ["80 notify"]), "budgets.search-month.soft", "50% notify"),
    (budget("soft", ["80%"]), "budgets.search-month.soft", "is not a step"),
    (budget("soft", ["0% notify"]), "budgets.search-month.soft", "is not a share"),
    (budget("soft", ["100.01% notify"]), "budgets.search-month.soft", "at most 100%"),
    (budget("soft", ["٨٠% notify"]), "budgets.search-month.soft", "is not a share"),
    (budget("soft", ["1e1% notify"]), "budgets.search-month.soft", "is not a share"),
    (budget("soft", ["80% notify:ops"]), "budgets.search-month.soft", "[[notify]] in comptroller.toml"),
    (budget("soft", ["80% notfy"]), "budgets.search-month.soft", "Did you mean 'notify'?"),
    (budget("soft", ["80% route"]), "budgets.search-month.soft", "is not the name of a model or of a class"),
    (budget("soft", ["80% route:frontir"]), "budgets.search-month.soft", "Did you mean 'frontier'?"),
    (budget("soft", ["80% route:frontier"]), "budgets.search-month.soft", "has only patterns of models"),
    (budget("soft", ["80% approval:a b"]), "budgets.search-month.soft", "is not a step"),
    (budget("soft", ["80% approval:-"]), "budgets.search-month.soft", "is not the name of a role"),
    (budget("soft", ["80% notify", "80.0% notify"]), "budgets.search-month.soft", "'80% notify' is named twice"),
    (budget("soft", [f"{share}% notify" for share in range(1, 23)]), "budgets.search-month.soft", "at most 20 steps"),
    *((retry("share", share), "retries.r.share", "from '0%' to '100%'") for share in WRONG_SHARES),
    (retry("scope", {"team": "serach"}), "retries.r.scope.team", "Did you mean 'search'?"),
    (retry("scope", {}), "retries.r.scope", "organization"),
    (retry("per", "identitty"), "retries.r.per", "Did you mean 'identity'?"),
    (retry("per_minute", -1), "retries.r.per_minute", "between 0 and"),
    (budget("scope", {"tool": "files/red"}), "budgets.search-month.scope.tool", "There is no tool 'files/red'"),
    (budget("scope", {"tool": "files/*"}), "budgets.search-month.scope.tool", "is a pattern"),
    (budget("scope", {"server": "flies"}), "budgets.search-month.scope.server", "There is no server 'flies'"),
    (budget_of(scope={"tool": "files/read"}, limit="5 calls"), "budgets.search-month.limit", "not counted in calls"),
    (budget_of(per="server", limit="5 tokens"), "budgets.search-month.limit", "not counted in tokens"),
    (budget_of(per="model", limit="5 tool_calls"), "budgets.search-month.limit", "not counted in tool_calls"),
    (budget("limit", "5 tool_call"), "budgets.search-month.limit", "Did you mean 'tool_calls'?"),
    (tool_price(tool="search", request="1"), "prices[2].tool", "SERVER/TOOL"),
    (tool_price(tool="search/web"), "prices[2]", "has no amount"),
    (tool_price(tool="search/web", request="1", input="1"), "prices[2].input", "Nothing here has this name"),
    (tool_price(tool="search/web", result_unit="-1"), "prices[2].result_unit", "below zero"),
]


@pytest.mark.parametrize(("edit", "where", "words"), PROBLEMS, ids=lambda part: part if isinstance(part, str) else "")
def test_what_is_wrong_is_said_where_it_stands(edit: Edit, where: str, words: str) -> None:
    raw = example()
    edit(raw)
    found = read_document(raw)
    assert isinstance(found, list), "it was taken as right"
    lines = [problem.line for problem in found if problem.where == where]
    assert any(word in line for line in lines for word in words.split("|")), [problem.line for problem in found]


def test_every_problem_is_said_at_once() -> None:
    raw = example()
    for edit in (
        scout("kind", "x"),
        scout("owner", "x"),
        price("input", 1),
        budget("limit", "x"),
        budget("scope", {"team": "y"}),
    ):
        edit(raw)
    found = read_document(raw)
    assert isinstance(found, list)
    assert [problem.where for problem in found] == [
        f"{SCOUT}.kind",
        "prices[1].input",
        "budgets.search-month.limit",
        f"{SCOUT}.owner",
        "budgets.search-month.scope.team",
    ]


def test_the_example_of_the_design_is_right() -> None:
    document = read(example())
    assert document.warnings == ()
    assert document.entries["identity", "agent/scout"]["expires"] == "2027-06-30"
    assert document.entries["budget", "search-month"] == {
        "scope": {"team": ["search"]},
        "limit": "200.00 USD",
        "window": "month",
        "time_zone": "Europe/Berlin",
        "per": "identity",
        "mode": "hard",
        "visible": "caller",
    }


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("200 USD", "200.00 USD"),
        ("1_000.5 USD", "1000.50 USD"),
        (" 0.000000001  USD ", "0.000000001 USD"),
        ("2000000 tokens", "2_000_000 tokens"),
        ("500 calls", "500 calls"),
        ("0 calls", "0 calls"),
    ],
)
def test_a_limit_is_kept_in_one_form(written: str, kept: str) -> None:
    raw = example()
    raw["budgets"][0]["limit"] = written
    assert read(raw).entries["budget", "search-month"]["limit"] == kept


@pytest.mark.parametrize(
    ("scope", "per", "visible"),
    [
        ({"team": "search"}, None, "operator"),
        ({"team": "search"}, "identity", "caller"),
        ({"team": "search"}, "session", "caller"),
        ({"identity": "agent/scout"}, None, "caller"),
        ({"session": "ses_1", "team": "search"}, None, "caller"),
        ({"team": "search"}, "team", "operator"),
    ],
)
def test_a_caller_sees_what_is_its_own(scope: dict[str, str], per: str | None, visible: str) -> None:
    raw = example()
    raw["budgets"][0] |= {"scope": scope} | ({} if per is None else {"per": per})
    if per is None:
        del raw["budgets"][0]["per"]
    assert read(raw).entries["budget", "search-month"]["visible"] == visible
    raw["budgets"][0]["visible"] = "operator"
    assert read(raw).entries["budget", "search-month"]["visible"] == "operator"


def test_the_order_of_a_scope_means_nothing() -> None:
    one, two = example(), example()
    one["teams"]["ads"] = two["teams"]["ads"] = {}
    one["budgets"][0]["scope"] = {"team": ["search", "ads"], "environment": "production"}
    two["budgets"][0]["scope"] = {"environment": ["production"], "team": ["ads", "search"]}
    assert read(one).entries == read(two).entries


WARNINGS: list[tuple[Edit, str, str]] = [
    (change("teams", "ads", to={}), "", ""),
    (leave_out("identities"), "budgets.search-month", "No identity is in the scope"),
    (budget("scope", {"environment": "testing"}), "budgets.search-month", "No identity is in the scope"),
    (budget("scope", {"environment": "testing"}), SCOUT, "what it spends has no end"),
    (budget("scope", {"session": "ses_1"}), "budgets.search-month", "No identity is in the scope"),
    (budget("scope", {"team": "search", "kind": "tool"}), "budgets.search-month", "No identity is in the scope"),
    (budget("mode", "shadow"), SCOUT, "No hard budget in USD"),
    (budget("limit", "5 calls"), SCOUT, "No hard budget in USD"),
    (leave_out("prices"), 'models."sandbox-*"', "No price is for this model on sandbox"),
    (price("provider", "other"), 'models."sandbox-*"', "No price is for this model on sandbox"),
    (price("model", "gpt-9"), "prices of gpt-9", "No model that is served has this price"),
]


@pytest.mark.parametrize(("edit", "where", "words"), WARNINGS)
def test_what_is_probably_not_meant_is_a_warning(edit: Edit, where: str, words: str) -> None:
    raw = example()
    edit(raw)
    warnings = read(raw).warnings
    assert bool(warnings) is bool(where)
    assert not where or any(one.where == where and words in one.sentence for one in warnings), warnings


def test_a_budget_for_models_that_go_elsewhere_is_a_warning() -> None:
    raw = example()
    raw["models"]["local-*"] = {"providers": ["local"], "class": "small"}
    raw["budgets"][0]["scope"] = {"provider": "local", "model_class": "frontier"}
    assert Problem("budgets.search-month", "No model is in the scope of this budget yet.") in read(raw).warnings


def test_providers_are_checked_against_the_settings() -> None:
    entries = read(example()).entries
    assert unknown_providers(entries, {"sandbox", "openai"}) == ()
    (problem,) = unknown_providers(entries, {"sandbux"})
    assert problem.line == "models.\"sandbox-*\".providers: There is no provider 'sandbox'. Did you mean 'sandbux'?"


@given(registries())
def test_any_registry_in_which_all_names_are_known_is_right(raw: dict[str, Any]) -> None:
    read(raw)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(raw=registries(), data=st.data())
def test_junk_anywhere_is_a_problem_and_never_a_crash(raw: dict[str, Any], data: st.DataObject) -> None:
    section = data.draw(st.sampled_from([each for each in SECTIONS if each in raw]))
    place: Any = raw
    key: Any = section
    for _ in range(data.draw(st.integers(0, 3))):
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner:
            break
        place = inner
        key = data.draw(st.sampled_from(sorted(inner))) if isinstance(inner, dict) else len(inner) - 1
    place[key] = data.draw(JUNK)
    assert isinstance(read_document(raw), Document | list)


def test_a_date_of_toml_is_read() -> None:
    raw = tomllib.loads("day = 2027-06-30")
    assert raw["day"] == date(2027, 6, 30)


@pytest.mark.parametrize(
    ("where", "key", "path"),
    [
        ("", "teams", "teams"),
        ("teams", "a_b-1", "teams.a_b-1"),
        ("teams", "a.b", 'teams."a.b"'),
        ("teams", 'a"b', 'teams."a\\"b"'),
        ("teams", "", 'teams.""'),
        ("teams", "\u00e9", 'teams."\u00e9"'),
    ],
)
def test_places_are_written_as_toml_writes_them(where: str, key: str, path: str) -> None:
    assert join(where, key) == path


def test_a_word_that_is_close_is_asked_for_and_a_short_list_is_shown() -> None:
    assert did_you_mean("teem", {"team", "owner"}) == "Did you mean 'team'?"
    assert did_you_mean("xyz", {"team", "owner"}) == "Known: owner, team."
    assert did_you_mean("xyz", ()) == ""
    assert did_you_mean("xyz", [f"name{number}" for number in range(30)]) == ""


OTHER = "other-lead@acme.example"


def with_two_owners(**scout: str) -> dict[str, Any]:
    raw = example()
    raw["owners"][OTHER] = {"team": "search"}
    raw["identities"]["agent/scout"] |= scout
    return raw


def test_an_owner_who_has_left_is_a_warning_where_it_is_installed() -> None:
    before = with_two_owners()
    after = example()
    after["owners"] = {OTHER: {"team": "search"}}
    after["budgets"][0]["scope"] = {"owner": "search-lead@acme.example"}
    found = read_document(after, installed(before))
    assert isinstance(found, Document), found
    (warning,) = [one for one in found.warnings if one.where == f"{SCOUT}.owner"]
    assert "There is no owner 'search-lead@acme.example' any more" in warning.sentence
    assert "refused 7 days after" in warning.sentence
    assert isinstance(read_document(after), list), "a new identity needs an owner who is there"
    after["identities"]["agent/new"] = dict(after["identities"]["agent/scout"])
    problems = read_document(after, installed(before))
    assert isinstance(problems, list)
    assert [one.where for one in problems] == ['identities."agent/new".owner']


@pytest.mark.parametrize(
    ("scout", "environment", "words"),
    [
        ({"deputy": OTHER}, "production", f"{OTHER} answers for it alone"),
        ({}, "testing", "is refused at once"),
    ],
)
def test_what_an_owner_who_has_left_leads_to(scout: dict[str, str], environment: str, words: str) -> None:
    before, after = (with_two_owners(environment=environment, **scout) for _ in range(2))
    del after["owners"]["search-lead@acme.example"]
    found = read_document(after, installed(before))
    assert isinstance(found, Document), found
    assert [words in one.sentence for one in found.warnings if one.where == f"{SCOUT}.owner"] == [True]


def test_a_reference_that_was_never_installed_is_an_error() -> None:
    before, after = with_two_owners(), with_two_owners(deputy=OTHER)
    del after["owners"][OTHER]
    assert isinstance(read_document(after, installed(before)), list), "it is named by this change only"
    gone = example()
    del gone["identities"]
    back = with_two_owners()
    del back["owners"]["search-lead@acme.example"]
    assert isinstance(read_document(back, installed(before, gone)), list), "a disabled identity comes back as a new one"
