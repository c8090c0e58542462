"""An older `anthropic` package against the gateway. `make test` installs it, in an environment of its own."""

import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest

from comptroller.core.refusal import REFUSALS
from tests.end_to_end.caller import mint, nanos
from tests.end_to_end.refused import WAYS, Refusing, refusing
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-anthropic-old" / "bin" / "python"
SCRIPT = Path(__file__).with_name("old_anthropic.py")
OK_CALLS = 7
RAISED = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "APIStatusError",
    404: "NotFoundError",
    408: "APIStatusError",
    413: "RequestTooLargeError",
    429: "RateLimitError",
} | dict.fromkeys((500, 502, 503, 504), "InternalServerError")
PICTURE = {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not PYTHON.exists() and not os.environ.get("CI"), reason="not installed: `make test` does it"),
]


def test_an_older_package_sees_what_the_current_one_does(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    before = len(gateway.admin("GET", "/calls?limit=1000"))
    rich, poor = mint(gateway)["credential"], mint(gateway, "agent/poor")["credential"]
    line = [PYTHON, SCRIPT, gateway.url, rich, poor]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith("0.")
    assert (found["message"], found["stream"], found["tool"]) == ("text", True, {"word": "text"})
    assert (found["thinking"], found["beta"]) == (["thinking", "text"], "message")
    assert found["cached"] > 0
    assert "unpriced" in found["models"]
    for name, kind, status, words in (
        ("unknown", "NotFoundError", 404, "No entry of the registry"),
        ("unpriced", "APIStatusError", 402, "no price"),
        ("poor", "APIStatusError", 402, "poor-day"),
        ("stranger", "AuthenticationError", 401, "comptroller token"),
        ("faulty", "BadRequestError", 400, "sandbox fault"),
        ("cut", "APIStatusError", 200, "broke off"),
    ):
        assert found[name][:2] == [kind, status], found[name]
        assert words in found[name][2]
    lines = sandbox.settled(OK_CALLS + 2)  # with the one that was cut and the one that the provider refused
    assert {each["api_version"] for each in lines} == {"2023-06-01"}
    rows = gateway.admin("GET", "/calls?limit=1000")[: len(lines) + 3]
    assert len(gateway.admin("GET", "/calls?limit=1000")) == before + len(lines) + 3  # three refusals, once each
    exact = {f"{row['id']}.1": nanos(row["charge_usd"]) for row in rows if row["attempts"] and not row["presumed"]}
    assert charged(each for each in lines if each["client_request_id"] in exact) == sum(exact.values())


def test_an_older_package_raises_every_refusal_with_our_text(sandbox: SandboxProcess, tmp_path: Path) -> None:
    whole = {"gateway_suspended"}  # stops everything, so it is met when all others have been
    there = WAYS.keys() - {"object_unknown", "object_busy"}  # what only Responses can ask for
    with refusing(tmp_path, sandbox) as world:
        told = {**_told(world, there - whole), **_told(world, whole)}
    assert told.keys() == there
    for code, (kind, status, text) in told.items():
        assert (kind, status) == (RAISED[REFUSALS[code].status], REFUSALS[code].status), code
        assert f"'code': '{code}'" in text


def _told(world: Refusing, codes: Iterable[str]) -> dict[str, tuple[str, int, str]]:
    """What the package raises for each of these refusals: its class, status and text."""
    with ExitStack() as ways:
        entered = {code: ways.enter_context(WAYS[code](world)) for code in sorted(codes)}
        asked = [
            (code, way.url, way.credential, {"model": "sandbox-large"} | way.asked(PICTURE))
            for code, way in entered.items()
        ]
        done = subprocess.run(
            [PYTHON, SCRIPT], input=json.dumps(asked), capture_output=True, text=True, timeout=240, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
