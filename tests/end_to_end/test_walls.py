"""Environment walls: a call leaves only through a key of its identity's environment, whatever the model says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.end_to_end.caller import ask, chat, mint, settled_row
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.recorder import Recorder

pytestmark = pytest.mark.processes

PATHS = ("/v1/chat/completions", "/v1/messages")
WALLS: Mapping[str, list[str]] = {
    "prod": ["production"],
    "test": ["testing"],
    "lab": ["testing", "experimentation"],
}
MODELS = {
    "sandbox-large": model("prod", "test", "lab"),
    "sandbox-prod": model("prod"),
    "sandbox-test": model("test"),
    "sandbox-last": model("lab", "prod"),
    "sandbox-inside": model("inside"),
}
IDENTITIES = {
    f"agent/{environment}": identity("red", environment=environment)
    for environment in ("production", "testing", "experimentation")
}

# Who hears a call of an environment for a model; None: nobody.
TABLE: list[tuple[str, str, str | None]] = [
    ("production", "sandbox-large", "prod"),
    ("testing", "sandbox-large", "test"),
    ("experimentation", "sandbox-large", "lab"),
    ("production", "sandbox-prod", "prod"),
    ("testing", "sandbox-prod", None),
    ("experimentation", "sandbox-prod", None),
    ("production", "sandbox-test", None),
    ("testing", "sandbox-test", "test"),
    ("experimentation", "sandbox-test", None),
    ("production", "sandbox-last", "prod"),
    ("testing", "sandbox-last", "lab"),
    ("experimentation", "sandbox-last", "lab"),
]


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Mapping[str, Recorder]]:
    with Recorder() as prod, Recorder() as test, Recorder() as lab:
        yield {"prod": prod, "test": test, "lab": lab}


@pytest.fixture(scope="module")
def walled(upstreams: Mapping[str, Recorder], tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("walls")
    settings = process("http://127.0.0.1:1")
    settings["providers"] = {
        name: provider(upstreams[name].url, api_key=f"env:KEY_{name.upper()}", environments=environments)
        for name, environments in WALLS.items()
    }
    # Named as plainly as can be, and the machine's own credentials live there: no naming opens it.
    settings["providers"]["inside"] = provider("http://169.254.169.254", private_network=True, api_key="env:KEY_PROD")
    env = {f"KEY_{name.upper()}": key_of(name) for name in WALLS}
    known = registry([budget("all", "1000.00 USD")], IDENTITIES, MODELS)
    known["prices"] = [{**each, "model": "sandbox-*"} for each in known["prices"] if each["model"] == "sandbox-large*"]
    with GatewayProcess(folder, settings, known, env=env) as gateway:
        yield gateway


def key_of(name: str) -> str:
    return f"the-own-key-of-{name}-and-no-other"


@pytest.mark.parametrize(("environment", "name", "hears"), TABLE)
@pytest.mark.parametrize("path", PATHS)
def test_a_call_leaves_through_a_key_of_its_environment(
    walled: GatewayProcess,
    upstreams: Mapping[str, Recorder],
    path: str,
    environment: str,
    name: str,
    hears: str | None,
) -> None:
    for each in upstreams.values():
        each.forget()
    claim = {"x-comptroller-environment": "production", "x-environment": "production"}
    body = chat(model=name, max_tokens=20)
    said = ask(walled, mint(walled, f"agent/{environment}")["credential"], body, path=path, headers=claim)
    heard = {who: each.heard for who, each in upstreams.items() if each.heard}
    if hears is None:
        assert (said.status, heard) == (402, {})
        assert said.headers["x-comptroller-refusal"] == "provider_unavailable"
        return
    assert said.status == 200
    assert heard.keys() == {hears}
    assert settled_row(walled, said.call_id)["provider"] == hears
    (request,) = heard[hears]
    sent = [who for who in WALLS if key_of(who).encode() in request.head + request.body]
    assert sent == [hears]


@pytest.mark.parametrize("path", PATHS)
def test_no_call_leaves_for_the_metadata_service(walled: GatewayProcess, path: str) -> None:
    body = chat(model="sandbox-inside", max_tokens=20)
    said = ask(walled, mint(walled, "agent/production")["credential"], body, path=path)
    assert (said.status, said.headers["x-comptroller-refusal"]) == (502, "upstream_failed")
    assert b"169.254" not in said.body, "a caller gets no map of our network"
    told = walled.admin("GET", f"/calls/{said.call_id}/explanation")
    assert "link-local (cloud metadata lives here)" in told["detail"]
    assert told["call"]["charge_usd"] == "0.00"
