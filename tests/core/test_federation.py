"""Which identity genuine claims stand for: exactly one, or nobody."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.identity.federation import (
    Federation,
    Rule,
    TrustedIssuer,
    Untrusted,
    covers,
    fits,
    names_subject,
    read_location,
    recorded,
)

MAIN = TrustedIssuer(
    name="main", kind="oidc", url="https://a.example", audience="us", algorithms=("RS256",), keys="discovery"
)
WORKLOADS = TrustedIssuer(
    name="spire", kind="spiffe", url="spiffe://prod.example", audience="us", algorithms=("ES256",), keys="file:b.json"
)

NAMES, VALUES = ("sub", "ref", "region"), ("a", "b", "c")
CLAIMS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.lists(st.sampled_from(VALUES)))
RULES = st.builds(
    Rule,
    st.sampled_from(("agent/x", "agent/y", "agent/z")),
    st.just("main"),
    st.dictionaries(
        st.sampled_from(NAMES),
        st.lists(st.sampled_from(VALUES), min_size=1, unique=True).map(tuple),
        min_size=1,
    ),
)


def stands_for(rules: list[Rule], **claims: Any) -> str:
    found = Federation([MAIN], rules).identity_of(MAIN, claims)
    return found.code if isinstance(found, Untrusted) else found


@pytest.mark.parametrize(
    ("claims", "identity"),
    [
        ({"sub": "one"}, "agent/x"),
        ({"sub": "One"}, "identity_unmatched"),
        ({"sub": "one "}, "identity_unmatched"),
        ({"sub": ["one"]}, "agent/x"),
        ({"sub": {"one": "one"}}, "identity_unmatched"),
        ({"sub": "two", "repository_id": 7}, "agent/y"),
        ({"sub": "two", "repository_id": "7"}, "agent/y"),
        ({"sub": "two", "repository_id": 7.0}, "identity_unmatched"),
        ({"sub": "two"}, "identity_unmatched"),
        ({"admin": True}, "agent/z"),
        ({"admin": 1}, "identity_unmatched"),
        ({"sub": "two", "admin": True, "ref": "main"}, "identity_ambiguous"),
        ({}, "identity_unmatched"),
    ],
)
def test_claims_stand_for_one_identity_or_for_nobody(claims: dict[str, Any], identity: str) -> None:
    rules = [
        Rule("agent/x", "main", {"sub": ("one", "uno")}),
        Rule("agent/y", "main", {"sub": ("two",), "repository_id": ("7",)}),
        Rule("agent/z", "main", {"admin": ("true",)}),
        Rule("agent/w", "main", {"ref": ("main",)}),
        Rule("agent/x", "other", {"sub": ("nobody",)}),
    ]
    assert stands_for(rules, **claims) == identity


@pytest.mark.parametrize(
    ("verified", "identity"),
    [
        ({"email_verified": True}, "human/eve"),
        ({"email_verified": "true"}, "human/eve"),
        ({"email_verified": False}, "identity_unmatched"),
        ({"email_verified": "false"}, "identity_unmatched"),
        ({"email_verified": 1}, "identity_unmatched"),
        ({"email_verified": ["false"]}, "identity_unmatched"),
        ({}, "identity_unmatched"),
    ],
)
def test_an_address_that_nobody_verified_stands_for_nobody(verified: dict[str, Any], identity: str) -> None:
    """At most providers anybody may write any address into their own account."""
    rules = [
        Rule("human/eve", "main", {"email": ("eve@acme.example",)}),
        Rule("human/eve", "main", {"email": ("eve@acme.example",), "sub": ("5",)}),
        Rule("human/ada", "main", {"sub": ("ada",)}),
    ]
    assert stands_for(rules, sub="5", email="eve@acme.example", **verified) == identity
    assert stands_for(rules, sub="ada", email="else@acme.example", **verified) == "human/ada"


def test_two_rules_of_one_identity_are_not_two_identities() -> None:
    rules = [Rule("agent/x", "main", {"sub": ("one",)}), Rule("agent/x", "main", {"ref": ("main",)})]
    assert stands_for(rules, sub="one", ref="main") == "agent/x"


def test_a_rule_about_the_subject_goes_before_rules_about_whoever_has_a_claim() -> None:
    """Somebody is approved by subject, and later a rule about addresses or groups fits them, too."""
    eve = {"email": ("eve@acme.example",)}
    rules = [Rule("human/eve", "main", eve), Rule("agent/scout", "main", {"sub": ("5",)})]
    claims = {"email": "eve@acme.example", "email_verified": True}
    assert stands_for(rules, sub="5", **claims) == "agent/scout"
    assert stands_for(rules, sub="6", **claims) == "human/eve"
    rules.append(Rule("human/eve", "main", {"sub": ("5",), **eve}))
    assert stands_for(rules, sub="5", **claims) == "identity_ambiguous", "two rules name the subject"


LONG = "s" * 250


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (LONG + "a", LONG + "b"),
        ("ab", "a\nb"),
        (LONG, recorded(LONG)),
        (recorded(LONG), recorded(recorded(LONG))),
        ("\ud800", "\ud801"),
    ],
)
def test_two_subjects_never_have_one_name_on_record(one: str, two: str) -> None:
    """Whoever opened a session may go on with it, and is known by that name."""
    assert recorded(one) != recorded(two)
    for each in (recorded(one), recorded(two)):
        assert each.isprintable()
        assert len(each) <= 200


def test_an_ordinary_subject_stands_on_record_as_it_is() -> None:
    assert recorded("system:serviceaccount:prod:scout") == "system:serviceaccount:prod:scout"
    assert recorded("s" * 200) == "s" * 200


@given(st.lists(RULES, max_size=6), CLAIMS)
def test_the_index_finds_what_a_look_at_every_rule_finds(rules: list[Rule], claims: dict[str, Any]) -> None:
    fitting = {rule.identity for rule in rules if fits(rule, claims)}
    fitting = {rule.identity for rule in rules if fits(rule, claims) and names_subject(rule)} or fitting
    expected = {0: "identity_unmatched", 1: min(fitting, default="")}.get(len(fitting), "identity_ambiguous")
    assert stands_for(rules, **claims) == expected


@given(RULES, RULES, CLAIMS.filter(lambda claims: all(isinstance(each, str) for each in claims.values())))
def test_a_rule_that_covers_another_fits_whatever_that_fits(
    wider: Rule, narrower: Rule, claims: dict[str, Any]
) -> None:
    if covers(wider, narrower) and fits(narrower, claims):
        assert fits(wider, claims)


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({"iss": "https://a.example"}, MAIN),
        ({"iss": "https://a.example/"}, None),
        ({"iss": ["https://a.example"]}, None),
        ({"iss": "spiffe://prod.example"}, WORKLOADS),
        ({"sub": "spiffe://prod.example/agent"}, WORKLOADS),
        ({"sub": "spiffe://prod.example.evil.example/agent"}, None),
        ({"sub": "spiffe://evil.example/prod.example"}, None),
        ({"iss": "https://a.example", "sub": "spiffe://prod.example/agent"}, MAIN),
        ({"iss": "https://spire.example", "sub": "spiffe://prod.example/agent"}, WORKLOADS),
        ({"sub": "main"}, None),
        ({}, None),
    ],
)
def test_an_issuer_is_found_by_its_exact_address_or_its_trust_domain(
    claims: dict[str, Any], found: TrustedIssuer | None
) -> None:
    assert Federation([MAIN, WORKLOADS]).issuer_of(claims) == found


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("https://a.example", True),
        ("https://a.example/keys?v=1", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://[::1]/keys", True),
        ("http://localhost/keys", True),
        ("http://a.example/keys", False),
        ("http://10.0.0.1/keys", False),
        ("http://127.evil.example/keys", False),
        ("https://user:pass@a.example", False),
        ("https://a.example/#x", False),
        ("https://a.example:port/", False),
        ("https://", False),
        ("https://a b.example", False),
        ("ftp://a.example", False),
        ("file:///etc/passwd", False),
    ],
)
def test_keys_come_over_https_or_from_this_machine(text: str, good: bool) -> None:
    assert (read_location(text) is not None) is good
