"""An approved request: its entries, its one rule, and the lines that say the same in a file."""

import tomllib
from typing import Any

import pytest

from comptroller.core.identity.request import IdentityRequest, Principal
from comptroller.core.registry.approval import lines_of, read_request
from comptroller.core.registry.build import build
from comptroller.core.registry.entries import Entries, StoredEntry
from comptroller.core.registry.plan import Plan, install
from tests.registry.documents import example, read
from tests.registry.test_issuers import ISSUERS


def installed() -> tuple[dict[str, Any], Entries]:
    raw = example() | {"issuers": ISSUERS}
    return raw, read(raw).entries


def asked(issuer: str, subject: str, **changes: Any) -> IdentityRequest:
    known: dict[str, Any] = {
        "id": "req_1",
        "issuer": issuer,
        "subject": subject,
        "owner": "search-lead@acme.example",
        "purpose": "answers tickets",
        "environment": "testing",
        "kind": "agent",
        "name": None,
        "asked_at_ns": 1,
        "decided_at_ns": 2,
        "decided_by": "ada@acme.example",
        "identity": "agent/new",
        "team": "search",
    }
    return IdentityRequest(**known | changes)


@pytest.mark.parametrize(
    ("issuer", "subject"),
    [
        ("any", "3f0c"),
        ("any", 'of "many" words \\ and é'),
        ("cluster", "system:serviceaccount:agents:scout"),
        ("spire", "spiffe://prod.acme.example/scout"),
    ],
)
def test_whoever_asked_is_it_and_the_lines_of_a_file_say_the_same(issuer: str, subject: str) -> None:
    raw, before = installed()
    request = asked(issuer, subject, purpose='reads "all" of C:\\temp')
    plan = read_request(request, before)
    assert isinstance(plan, Plan)
    assert [(change.verb, change.kind) for change in plan.changes] == [("add", "identity"), ("add", "federation")]
    after = install({key: StoredEntry(entry) for key, entry in before.items()}, plan)
    federation = build(after, 2).federation
    assert federation.identity_of(federation.issuers[issuer], {"sub": subject}) == "agent/new"
    assert not isinstance(federation.identity_of(federation.issuers[issuer], {"sub": f"{subject}x"}), str)

    written = tomllib.loads(lines_of(request, ISSUERS[issuer]["kind"]))
    raw["identities"] |= written["identities"]
    assert read(raw).entries == {key: stored.value for key, stored in after.items()}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity": "new"}, "not an identity id"),
        ({"owner": "nobody@acme.example"}, "no owner"),
        ({"team": "nobody"}, "no team"),
        ({"subject": "all*"}, "no patterns"),
        ({"issuer": "cluster", "subject": "me"}, "`namespace` and `service_account`"),
        ({"issuer": "spire", "subject": "spiffe://other.example/a"}, "trust domain"),
        ({"issuer": "github", "subject": "repo:acme/agents:ref:refs/heads/main"}, "`repository_id`"),
    ],
)
def test_what_a_file_could_not_say_cannot_be_approved(changes: dict[str, Any], words: str) -> None:
    found = read_request(asked(**{"issuer": "any", "subject": "me"} | changes), installed()[1])
    assert isinstance(found, list)
    assert words in found[0].line


def test_a_principal_is_called_as_it_is_or_not_at_all() -> None:
    assert Principal("main", "3f0c").name == "main:3f0c"
    assert Principal("main", "3f0c").nameable
    for subject in ("", "a\nb", "a ", "a" * 200, "\x7f"):
        assert not Principal("main", subject).nameable
