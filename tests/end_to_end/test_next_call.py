"""Whatever changes, the next call meets it: nothing that is remembered between calls outlives what it follows from.

One credential throughout, on one kept connection.
"""

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from tests.end_to_end.caller import CHAT, Row, chat, eventually, mint, row_of
from tests.harness.configuration import Table, budget, identity, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.toml import to_toml
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD"), budget("own", "100.00 USD", per="identity", visible="caller")]
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
START = registry(BUDGETS, MEMBERS, bounds={"agent": {"usd": "unbounded"}})  # or each session shows what it has left
BODY = chat("the same each time", max_tokens=10, sandbox={"output_tokens": 10})


class Caller:
    """One session that asks the same thing again and again."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway = gateway
        self.minted = mint(gateway)
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
        self.ask()
        assert self.code is None

    def ask(self, body: Row = BODY) -> None:
        """Ask once; what was answered is in the attributes."""
        headers = {"authorization": f"Bearer {self.minted['credential']}"}
        self._connection.request("POST", CHAT, json.dumps(body).encode(), headers)
        with self._connection.getresponse() as response:
            answer = json.loads(response.read())
            self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.code = answer["error"]["code"] if response.status != 200 else None

    @property
    def row(self) -> Row:
        return row_of(self.gateway, self.headers["x-comptroller-call-id"])

    def apply(self, text: Table | None = None, **changes: Any) -> None:
        """Install START with these tables instead of its own, and no policy but these."""
        policies = changes.pop("policies", {})
        installed = to_toml({**(text or START), **changes})
        self.gateway.admin("POST", "/registry/apply", {"registry": installed, "policies": policies})

    def suspend(self, scope: str, value: str) -> None:
        self.gateway.admin("POST", "/stops", {"scope": scope, "value": value, "reason": "a test"})

    def resume_all(self) -> None:
        for stop in self.gateway.admin("GET", "/stops"):
            asked = {"scope": stop["scope"], "value": stop["value"], "reason": "the test is over"}
            self.gateway.admin("POST", "/stops/resume", asked)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def shared(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("next"), process(sandbox_process.url), START) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture
def caller(shared: GatewayProcess) -> Iterator[Caller]:
    caller = Caller(shared)
    yield caller
    caller.apply()
    caller.resume_all()
    caller.close()


def test_an_identity_that_moves_is_charged_to_its_new_team(caller: Caller) -> None:
    assert caller.row["team"] == "red"
    caller.apply(
        identities=MEMBERS | {"agent/ant": identity("blue")},
        budgets=[*BUDGETS, budget("blue", "90.00 USD", scope={"team": "blue"}, visible="caller")],
    )
    caller.ask()
    assert (caller.code, caller.row["team"]) == (None, "blue")
    assert 89 < float(caller.headers["x-comptroller-remaining-usd"]) < 90


CHANGES: dict[str, tuple[Callable[[Caller], None], str]] = {
    "a budget is lowered": (lambda c: c.apply(budgets=[budget("all", "0.0000001 USD")]), "budget_exhausted"),
    "a budget comes": (lambda c: c.apply(budgets=[*BUDGETS, budget("new", "0 calls")]), "budget_exhausted"),
    "its price goes": (lambda c: c.apply(prices=[]), "price_unknown"),
    "its model goes": (lambda c: c.apply(models={"sandbox-small": model("sandbox")}), "model_unknown"),
    "its model gets another class": (
        lambda c: c.apply(
            models={"sandbox-*": model("sandbox", **{"class": "frontier"})},
            budgets=[budget("frontier", "0 calls", scope={"model_class": "frontier"})],
        ),
        "budget_exhausted",
    ),
    "a policy comes": (
        lambda c: c.apply(policies={"one.cedar": '@id("no") forbid (principal, action, resource);'}),
        "policy_forbidden",
    ),
    "its identity goes": (lambda c: c.apply(identities={"agent/bee": MEMBERS["agent/bee"]}), "identity_unknown"),
    "its identity has expired": (
        lambda c: c.apply(identities=MEMBERS | {"agent/ant": identity("red", expires=date(2026, 1, 1))}),
        "identity_expired",
    ),
    "its session is ended": (
        lambda c: c.gateway.admin("POST", f"/sessions/{c.minted['session']}/end", {"reason": "a test"}),
        "session_ended",
    ),
    "its session is suspended": (lambda c: c.suspend("session", c.minted["session"]), "session_suspended"),
    "its credential is suspended": (lambda c: c.suspend("credential", c.minted["credential"]), "credential_suspended"),
    "its identity is suspended": (lambda c: c.suspend("identity", "agent/ant"), "identity_suspended"),
    "its owner is suspended": (lambda c: c.suspend("owner", "red-lead@acme.example"), "identity_suspended"),
    "its team is suspended": (lambda c: c.suspend("team", "red"), "identity_suspended"),
    "its model is suspended": (lambda c: c.suspend("model", "sandbox-l*"), "model_suspended"),
    "its provider is suspended": (lambda c: c.suspend("provider", "sandbox"), "model_suspended"),
    "everything is suspended": (lambda c: c.suspend("everything", ""), "gateway_suspended"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_next_call_is_refused_when(what: str, caller: Caller) -> None:
    change, code = CHANGES[what]
    change(caller)
    caller.ask()
    assert caller.code == code


def test_the_next_call_works_when_its_stop_is_lifted(caller: Caller) -> None:
    for scope, value in (("session", caller.minted["session"]), ("team", "red"), ("model", "*"), ("everything", "")):
        caller.suspend(scope, value)
        caller.ask()
        assert caller.code is not None
        caller.resume_all()
        caller.ask()
        assert caller.code is None


def test_the_next_call_costs_what_it_costs_now(caller: Caller) -> None:
    before = caller.headers["x-comptroller-charge-usd"]
    dearer = [{**price, "input": "300", "output": "300"} for price in START["prices"]]
    caller.apply(prices=dearer)
    caller.ask()
    assert float(caller.headers["x-comptroller-charge-usd"]) > 10 * float(before)


def test_a_call_in_flight_is_not_shown_what_its_caller_may_not_see_any_more(caller: Caller) -> None:
    assert "x-comptroller-remaining-usd" in caller.headers
    slow = chat("answered late", max_tokens=10, sandbox={"fault": "slow_first_byte", "delay_s": 2.0})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(caller.ask, slow)
        eventually(lambda: caller.gateway.admin("GET", "/status")["open_holds"] == 1)
        caller.apply(budgets=[{**each, "visible": "operator"} for each in BUDGETS])
        asking.result()
    assert caller.code is None
    assert "x-comptroller-remaining-usd" not in caller.headers
