"""Issuers and `federated` in registry.toml: what is right, what is wrong, and what a plan shows of it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comptroller.core.identity.federation import Untrusted
from comptroller.core.registry.build import build
from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import StoredEntry
from comptroller.core.registry.plan import plan
from tests.registry.documents import example, read

ISSUERS: dict[str, dict[str, Any]] = {
    "any": {"kind": "oidc", "url": "https://login.acme.example", "audience": "us"},
    "cluster": {"kind": "kubernetes", "url": "https://cluster.acme.example", "audience": "us", "keys": "file:k.json"},
    "github": {"kind": "github", "url": "https://token.actions.githubusercontent.com", "audience": "us"},
    "spire": {
        "kind": "spiffe",
        "url": "spiffe://prod.acme.example",
        "audience": "us",
        "keys": "file:bundle.json",
        "algorithms": ["ES256", "RS256"],
    },
}


def document(*rules: dict[str, Any], others: dict[str, Any] | None = None, **issuers: Any) -> dict[str, Any]:
    raw = example()
    raw["issuers"] = ISSUERS | issuers
    scout = raw["identities"]["agent/scout"]
    raw["identities"]["agent/scout"] = scout | {"federated": list(rules)}
    raw["identities"] |= {name: scout | {"federated": mine} for name, mine in (others or {}).items()}
    return raw


def problems(raw: dict[str, Any]) -> list[str]:
    found = read_document(raw)
    return [problem.line for problem in found] if isinstance(found, list) else []


@pytest.mark.parametrize(
    ("rule", "issuer", "claims"),
    [
        ({"issuer": "any", "subject": "me"}, "any", {"sub": "me"}),
        ({"issuer": "any", "sub": ["me", "you"], "role": "admin"}, "any", {"sub": "you", "role": ["x", "admin"]}),
        (
            {"issuer": "cluster", "namespace": "agents", "service_account": "scout"},
            "cluster",
            {"sub": "system:serviceaccount:agents:scout"},
        ),
        (
            {"issuer": "github", "repository_id": "42", "ref": "refs/heads/main"},
            "github",
            {"sub": "repo:acme/agents:ref:refs/heads/main", "repository_id": "42", "ref": "refs/heads/main"},
        ),
        (
            {"issuer": "github", "repository_id": "42", "environment": "production", "event_name": "push"},
            "github",
            {"repository_id": "42", "environment": "production", "event_name": "push"},
        ),
        (
            {"issuer": "spire", "subject": "spiffe://prod.acme.example/scout"},
            "spire",
            {"sub": "spiffe://prod.acme.example/scout"},
        ),
    ],
)
def test_a_rule_leads_to_its_identity(rule: dict[str, Any], issuer: str, claims: dict[str, Any]) -> None:
    installed = {key: StoredEntry(entry) for key, entry in read(document(rule)).entries.items()}
    federation = build(installed, 1).federation
    assert federation.identity_of(federation.issuers[issuer], claims) == "agent/scout"
    for other in federation.issuers.values():
        if other.name != issuer:
            assert isinstance(federation.identity_of(other, claims), Untrusted)
    for name in claims:
        less = {key: value for key, value in claims.items() if key != name}
        found = federation.identity_of(federation.issuers[issuer], less)
        assert isinstance(found, Untrusted) or (issuer, name) == ("github", "sub")


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ([{"issuer": "nobody", "subject": "me"}], "There is no issuer 'nobody'"),
        ([{"subject": "me"}], "`issuer` is missing"),
        ([{"issuer": "any"}], "No claim is named"),
        ([{"issuer": "any", "subject": "*"}], "there are no patterns"),
        ([{"issuer": "any", "subject": 7}], "must be a text"),
        ([{"issuer": "any", "subject": []}], "empty"),
        ([{"issuer": "any", "realm": {"roles": "x"}}], "must be a text"),
        ([{"issuer": "any", "subject": "me"}, {"issuer": "any", "sub": "me"}], "twice"),
        ([{"issuer": "cluster", "namespace": "agents"}], "`namespace` and `service_account`"),
        ([{"issuer": "cluster", "subject": "system:serviceaccount:a:b"}], "`namespace` and `service_account`"),
        ([{"issuer": "cluster", "namespace": "a:b", "service_account": "c"}], "colon"),
        ([{"issuer": "github", "repository": "acme/agents", "ref": "refs/heads/main"}], "`repository_id`"),
        ([{"issuer": "github", "repository_id": "42"}], "`ref` or `environment`"),
        ([{"issuer": "spire", "subject": "spiffe://other.example/scout"}], "trust domain"),
        ([{"issuer": "spire", "subject": "spiffe://prod.acme.example.evil/scout"}], "trust domain"),
        ([{"issuer": "spire", "role": "x"}], "SPIFFE id"),
        (["main"], "must be a table"),
        ([{"issuer": "any", "subject": f"s{n}"} for n in range(21)], "at most 20"),
    ],
)
def test_a_rule_that_is_wrong_is_named_with_its_place(rules: list[Any], words: str) -> None:
    (line,) = problems(document(*rules))
    assert line.startswith('identities."agent/scout".federated')
    assert words in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "saml"}, "kind"),
        ({"url": "http://login.acme.example"}, "no address of an issuer"),
        ({"url": "https://login.acme.example?a=b"}, "no address of an issuer"),
        ({"url": "spiffe://prod2.example"}, "does not go with the issuer's kind"),
        ({"url": "https://cluster.acme.example"}, "has this address too"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"algorithms": ["none"]}, "algorithms"),
        ({"algorithms": []}, "empty"),
        ({"keys": "http://login.acme.example/keys"}, "where the keys are"),
        ({"keys": "file:"}, "where the keys are"),
        ({"login_scopes": ["email"]}, "nobody can log in"),
        ({"login_refresh": False}, "nobody can log in"),
        ({"client_id": "cli", "login_scopes": ["a b"]}, "no name of a scope"),
        ({"client_id": "cli", "login_scopes": []}, "empty"),
        ({"client_id": "cli", "login_refresh": "no"}, "true or false"),
        ({"unregistered": "allow"}, "not one of refuse, request, sandbox"),
        ({"unregistered": "sandbox"}, "`sandbox` is missing"),
        ({"unregistered": "request", "sandbox": "agent/scout"}, "Nobody would have this sandbox"),
        ({"sandbox": "agent/scout"}, "Nobody would have this sandbox"),
        ({"unregistered": "sandbox", "sandbox": "agent/nobody"}, "no identity 'agent/nobody'"),
        ({"unregistered": "sandbox", "sandbox": "agent/scout"}, "not of experimentation"),
        ({"secret": "x"}, "Nothing here has this name"),
    ],
)
def test_an_issuer_that_is_wrong_is_named_with_its_place(changes: dict[str, Any], words: str) -> None:
    (line,) = problems(document(any=ISSUERS["any"] | changes))
    assert line.startswith("issuers.")
    assert words in line


def test_an_issuer_says_its_audience_and_a_trust_domain_where_its_keys_are() -> None:
    some = {name: value for name, value in ISSUERS["any"].items() if name != "audience"}
    assert any("audience" in line for line in problems(document(any=some)))
    spire = {name: value for name, value in ISSUERS["spire"].items() if name != "keys"}
    assert any("no discovery" in line for line in problems(document(spire=spire)))


def test_people_log_in_only_where_the_issuer_is_an_openid_provider() -> None:
    (line,) = problems(document(cluster=ISSUERS["cluster"] | {"client_id": "cli"}))
    assert line.startswith("issuers.cluster.client_id")


def test_a_login_is_for_the_client_and_a_workload_for_the_gateway() -> None:
    read_in = read(document(any=ISSUERS["any"] | {"client_id": "cli"})).entries
    federation = build({key: StoredEntry(entry) for key, entry in read_in.items()}, 1).federation
    assert federation.issuers["any"].audiences == ("us", "cli")
    assert federation.issuers["cluster"].audiences == ("us",)


@pytest.mark.parametrize(
    ("mine", "theirs", "clash"),
    [
        ({"subject": "a"}, {"subject": "a"}, True),
        ({"subject": ["a", "b"]}, {"subject": "b"}, True),
        ({"subject": "a"}, {"subject": "a", "role": "x"}, True),
        ({"subject": "a", "role": "y"}, {"subject": "a", "role": "x"}, False),
        ({"subject": ["a", "b"]}, {"subject": ["b", "c"]}, False),
        ({"subject": "a"}, {"role": "x"}, False),
        ({"subject": "a", "role": "x"}, {"role": "x"}, False),
        ({"role": "x"}, {"role": "x", "area": "y"}, True),
    ],
)
def test_rules_by_which_two_identities_would_share_every_token_are_a_fault(
    mine: dict[str, Any], theirs: dict[str, Any], clash: bool
) -> None:
    raw = document({"issuer": "any", **mine}, others={"agent/other": [{"issuer": "any", **theirs}]})
    found = problems(raw)
    assert bool(found) is clash
    assert all("would be refused" in line for line in found)


def test_a_plan_shows_every_way_to_become_an_identity() -> None:
    before = {key: StoredEntry(entry) for key, entry in read(document()).entries.items()}
    rule = {"issuer": "github", "repository_id": "42", "ref": ["refs/heads/main", "refs/heads/next"]}
    after = read(document(rule)).entries
    (change,) = plan(before, after).changes
    assert change.sentence == (
        "add federation agent/scout by github ref=refs/heads/main,refs/heads/next repository_id=42"
    )
    (gone,) = plan({key: StoredEntry(entry) for key, entry in after.items()}, read(document()).entries).changes
    assert gone.verb == "disable"


def test_the_examples_of_the_page_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "federation.md").read_text(encoding="utf-8")
    blocks = [tomllib.loads(each) for each in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    raw = example()
    scout = raw["identities"]["agent/scout"]
    raw["issuers"] = {name: one for block in blocks for name, one in block.get("issuers", {}).items()}
    rules: dict[str, list[Any]] = {"agent/scout": []}
    for block in blocks:
        for name, one in block.get("identities", {"agent/scout": block}).items():
            rules.setdefault(name, []).extend(one["federated"])
    raw["identities"] = {name: scout | {"federated": mine} for name, mine in rules.items()}
    assert len(raw["issuers"]) >= 4
    assert sum(map(len, rules.values())) >= 5
    assert problems(raw) == []


@pytest.mark.parametrize("unregistered", ["request", "sandbox"])
def test_anybody_on_github_is_not_asked_in(unregistered: str) -> None:
    lines = problems(document(github=ISSUERS["github"] | {"unregistered": unregistered}))
    assert any("Anybody on GitHub" in line for line in lines)


OWN = {"scope": {"identity": "agent/visitor"}, "limit": "5.00 USD", "window": "month", "per": "subject"}
ALL = OWN | {"limit": "50.00 USD", "per": "identity"}
NO_OWN, NO_END = "a limit of their own", "the more people, the more is spent"


@pytest.mark.parametrize(
    ("own", "pool", "words"),
    [
        ({}, {}, []),
        ({"scope": {"environment": "experimentation"}}, {"scope": {"organization": "acme"}}, []),
        ({"scope": {"team": ["search"], "kind": "agent"}}, {"per": "team"}, []),
        ({"limit": "500 calls"}, {}, [NO_OWN]),
        ({"mode": "shadow"}, {}, [NO_OWN]),
        ({"per": "session"}, {}, [NO_OWN]),
        ({"scope": {"identity": "agent/scout"}}, {}, [NO_OWN]),
        ({"scope": {"identity": "agent/visitor", "model_class": "frontier"}}, {}, [NO_OWN]),
        ({"scope": {"identity": "agent/visitor", "tenant": "t"}}, {}, [NO_OWN]),
        ({}, {"per": "task"}, [NO_END]),
        ({}, {"limit": "5_000_000 tokens"}, [NO_END]),
        ({"mode": "shadow"}, {"mode": "shadow"}, [NO_OWN, NO_END]),
    ],
)
def test_a_sandbox_has_an_end_for_each_and_for_all(own: dict[str, Any], pool: dict[str, Any], words: list[str]) -> None:
    raw = document(any=ISSUERS["any"] | {"unregistered": "sandbox", "sandbox": "agent/visitor"})
    raw["identities"]["agent/visitor"] = raw["identities"]["agent/scout"] | {"environment": "experimentation"}
    raw["identities"]["agent/visitor"].pop("federated", None)
    raw["budgets"] = [OWN | own | {"name": "own"}, ALL | pool | {"name": "pool"}]
    lines = problems(raw)
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True))
