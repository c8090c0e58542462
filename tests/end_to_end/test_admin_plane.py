"""The admin plane of a running gateway, asked by schemathesis what its own OpenAPI document allows and forbids."""

import json
import random
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from comptroller.control.api import ROUTES
from tests.end_to_end.caller import ask, mint, settled_row
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.toml import to_toml
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD"), budget("bee-all", "0.001 USD", scope={"identity": "agent/bee"})]

MORE = {"profiles": {"research": {"model_calls": 500}}}

# Where chance alone finds nothing: most of the time these are given something that there is.
FIELDS = {
    "identity": ("query.identity", "body.identity"),
    "model": ("query.model", "body.model"),
    "provider": ("query.provider", "body.provider"),
    "session": ("query.session", "path.session"),
    "call": ("query.before", "path.call"),
    "admin": ("path.admin",),
    "grant": ("path.grant",),
    "exception": ("path.grant_id",),
    "secret": ("path.secret",),
    "profile": ("body.profile",),
    "parent": ("body.parent",),
    "word": ("body.subject", "body.tenant", "body.task", "body.task_type", "body.workflow", "body.name"),
    "since": ("query.since",),
    "until": ("query.until",),
    "amount": ("body.charge_usd", "body.estimate_usd"),
    "reason": ("body.reason",),
    "registry": ("body.registry",),
}
OFTEN = 0.9

NAMES = [f"{route.method} {route.path}" for route in ROUTES]
NEVER_DONE = {
    "GET /openapi.json",  # read first of all
    "POST /bounds/resume",  # nothing was billed above its bound
    # No issuer is trusted, so nobody asks for anything; tests/end_to_end/test_identity_requests.py does.
    "POST /identity-requests/{request}/approve",
    "POST /identity-requests/{request}/deny",
    # Nobody waits for an approval, no chat tool is trusted, and nobody is to be told of anything;
    # tests/end_to_end/test_approvals.py, tests/control/test_chat_answers.py and tests/end_to_end/test_notices.py do. A
    # grant wants a role, a bound and whom it is for, which chance does not join.
    "GET /approvals/{ticket}",
    "POST /approvals/{ticket}/approve",
    "POST /approvals/{ticket}/deny",
    "POST /grants",
    "POST /chat-answers",
    "GET /tools/definition",  # no server has listed a tool; tests/control/test_tools.py has one that does
    "POST /tools/accept",
    "POST /tools/reject",
    "POST /notify/retry",
    "POST /notify/{receiver}/test",
    # Chance has ended every session before it hits on words that fit together; tests/control/test_openapi.py does them.
    "POST /sessions/open",
    "POST /sessions/{session}/narrow",
    "POST /sessions/{session}/renew",
}
EMERGENCY = {"scope": "team", "value": "red", "lasts_s": 60, "limit_usd": "1", "reason": "INC-9"}
EXCEPTION = {
    "role": "finops", "bound": "identity", "value": "agent/ant", "amount": "1", "lasts_s": 600, "reason": "INC-9",
}  # fmt: skip
ADMINS = ("olga", "otto", "oscar")
# Route -> its operation id: every token is that of no issuer, and after a few of them it says 429; who asks for
# everything confirms nothing of it.
LEFT_OUT: Mapping[str, str] = {"POST /login": "login", "POST /break-glass/{grant}/confirm": "confirm_break_glass"}


@pytest.fixture
def gateway(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """One of its own: its sessions are ended, its keys are changed, its registry is replaced."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, **MORE)) as running:
        # A named admin asks: the first one that is made would end the bootstrap credential in the middle.
        running.named = running.admin("POST", "/admins", {"name": "fuzz", "role": "admin"})["credential"]
        for name in ADMINS:
            running.admin("POST", "/admins", {"name": name, "role": "operator"})
        yield running


def test_the_admin_plane_does_what_its_document_says(
    gateway: GatewayProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No 500, no undocumented status, no answer of another shape, nothing without the credential."""
    log = tmp_path / "asked.har"
    known = things_that_there_are(gateway)
    config = tmp_path / "schemathesis.toml"
    config.write_text(to_toml(configuration(known)))
    left_out = [option for each in LEFT_OUT.values() for option in ("--exclude-operation-id", each)]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
        *(f"http://127.0.0.1:{gateway.admin_port}/api/v1/openapi.json", "--no-color"),
        *("--header", f"Authorization: Bearer {gateway.named}", *left_out),
        *how_much(request.config.getoption("--admin-fuzz-s")),
        *("--report", "har", "--report-har-path", str(log)),
    ]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}\n{gateway.log()[-5_000:]}"
    answered = statuses(log)
    assert not [name for name, seen in answered.items() if max(seen) >= 500]
    got_nowhere = {name for name in NAMES if 200 not in answered.get(name, ())} - NEVER_DONE - LEFT_OUT.keys()
    assert not got_nowhere, "give FIELDS something that lets them succeed"
    assert gateway.admin("GET", "/status")["pid"] == gateway.pid
    assert "control_fault" not in gateway.log()
    assert "Traceback" not in gateway.log()


def how_much(seconds: int | None) -> Sequence[str]:
    """A short run that repeats itself, or so many seconds of what comes."""
    if seconds is None:
        return "--max-examples", "12", "--seed", "1"
    return "--max-time", str(seconds), "--seed", str(random.SystemRandom().randrange(1 << 32))


def things_that_there_are(gateway: GatewayProcess) -> Mapping[str, Sequence[str]]:
    """Sessions and calls in the books, and what else a request can name."""
    minted = [mint(gateway, identity) for identity in ("agent/ant", "agent/bee", *["agent/ant"] * 30)]
    said = [ask(gateway, each["credential"]) for each in minted[:3]]
    assert [each.status for each in said] == [200, 402, 200]
    return {
        "identity": ["agent/ant", "agent/bee"],
        "model": ["sandbox-large", "sandbox-small"],
        "provider": ["sandbox"],
        "session": [each["session"] for each in minted],
        "call": [settled_row(gateway, each.call_id)["id"] for each in said],
        "admin": ADMINS,
        "grant": [gateway.admin("POST", "/break-glass", EMERGENCY)["id"]],
        "exception": [gateway.admin("POST", "/grants", EXCEPTION)["id"]],
        "profile": ["research"],
        "parent": [each["session"] for each in minted[3:]],
        "word": ["t-1042"],
        "secret": [gateway.admin("POST", "/secrets", {"identity": "agent/ant", "expires_s": 60})["id"]],
        "since": ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00"],
        "until": ["2100-01-01T00:00:00Z", "2200-01-01T00:00:00+05:30", "9999-12-31T23:59:59Z"],
        "amount": ["0", "0.0123", "7", "999999999999.999999999"],
        "reason": ["somebody tries things out"],
        "registry": [to_toml(registry(BUDGETS, **MORE)), to_toml(registry([budget("all", "120.00 USD")], **MORE))],
    }


def configuration(known: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """schemathesis.toml. What types allow may be unknown (404), out of place (409), over (410) or impossible (422)."""
    return {
        "warnings": False,
        "hooks": str(Path(__file__).with_name("whole_numbers.py")),
        "cache": {"enabled": False},
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "409", "410", "422"]}},
        "dictionaries": {name: {"values": values} for name, values in known.items()},
        "parameters": {
            field: {"dictionary": name, "probability": OFTEN} for name, fields in FIELDS.items() for field in fields
        },
    }


def statuses(log: Path) -> Mapping[str, set[int]]:
    """What each route answered, by method and path."""
    seen: dict[str, set[int]] = defaultdict(set)
    for entry in json.loads(log.read_text())["log"]["entries"]:
        _, _, path = entry["request"]["url"].partition("?")[0].partition("/api/v1")
        if (name := known_route(entry["request"]["method"], path)) is not None:
            seen[name].add(entry["response"]["status"])
    return seen


def known_route(method: str, path: str) -> str | None:
    for route in ROUTES:
        if route.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path), path):
            return f"{route.method} {route.path}"
    return None
