"""Policies on real processes: who may, what is routed, what is too large, and a change while calls are under way."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, NamedTuple

import openai
import pytest

from tests.end_to_end.caller import ask as call
from tests.end_to_end.caller import nanos, settled_row
from tests.harness.configuration import budget, identity, model, process, registry
from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.sandbox.process import SandboxProcess

POLICIES = """
@id("agents-may-call")
permit (principal, action == Action::"model.call", resource) when { principal.kind == "agent" };

@id("red-stays-small") @remedy("route:small") @reason("team red uses small models")
forbid (principal in Team::"red", action, resource in ModelClass::"frontier");

@id("nowhere-to-go") @remedy("route:walled") @reason("team green uses the walled model")
forbid (principal in Team::"green", action, resource in ModelClass::"frontier");

@id("short-prompts") @remedy("cap_input:2000") @reason("ask shorter questions")
forbid (principal, action == Action::"model.call", resource) when { context.input_tokens > 1000 };

@id("dear") @remedy("approval:finops") @reason("a call over ten cents needs finops")
forbid (principal, action, resource) when { context.estimate_nanos > 100000000 };

@id("small-services")
forbid (principal == Identity::"service/blue", action, resource == Model::"sandbox-large");

@id("sum") @reason("never evaluated")
forbid (principal in Team::"broken", action, resource) when { context.estimate_nanos + 9223372036854775807 < 0 };
"""
IDENTITIES = {
    "agent/red": identity("red"),
    "agent/blue": identity("blue"),
    "agent/green": identity("green"),
    "agent/broken": identity("broken"),
    "service/blue": identity("blue", "service"),
}
MODELS = {
    "sandbox-large": model("sandbox") | {"class": "frontier"},
    "sandbox-small": model("sandbox") | {"class": "small"},
    "walled": model("other") | {"class": "walled-off"},
    "sandbox-*": model("sandbox"),
}
BUDGETS = [budget("acme-all", "100.00 USD"), budget("small-all", "50.00 USD", scope={"model_class": "small"})]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("policies")
    (folder / "policies").mkdir()
    (folder / "policies" / "one.cedar").write_text(POLICIES)
    files = process(sandbox.url)
    files["providers"]["other"] = {**files["providers"]["sandbox"], "environments": ["production"]}
    with GatewayProcess(folder, files, registry(BUDGETS, IDENTITIES, MODELS)) as running:
        yield running
        assert "Traceback" not in running.log()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def refusal(self) -> dict[str, Any]:
        return self.body["error"]["comptroller"]


def credential(gateway: GatewayProcess, name: str) -> str:
    return gateway.admin("POST", "/sessions", {"identity": name})["credential"]


def ask(gateway: GatewayProcess, key: str, model: str = "sandbox-small", **fields: Any) -> Answer:
    request = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, **fields}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(request), {"authorization": f"Bearer {key}"})
        with connection.getresponse() as response:
            body = json.loads(response.read())
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
    finally:
        connection.close()


def record(gateway: GatewayProcess, answer: Answer) -> dict[str, Any]:
    (row,) = [row for row in gateway.admin("GET", "/calls") if row["id"] == answer.headers["x-comptroller-call-id"]]
    return row


def test_what_is_permitted_carries_the_policies_on_its_record(gateway: GatewayProcess) -> None:
    answer = ask(gateway, credential(gateway, "agent/blue"))
    assert answer.status == 200
    row = record(gateway, answer)
    assert (row["policies"], row["asked_model"], row["routed_by"]) == (["agents-may-call"], None, None)
    status = gateway.admin("GET", "/status")
    assert (row["policy_version"], status["policies"]) == (status["policy_version"], 7)
    told = gateway.command("explain", row["id"]).stdout
    assert "policy agents-may-call" in told
    assert row["policy_version"] in told


def test_nobody_may_what_no_policy_permits(gateway: GatewayProcess) -> None:
    answer = ask(gateway, credential(gateway, "service/blue"))
    assert (answer.status, answer.refusal["code"]) == (402, "no_permit")
    assert answer.headers["x-should-retry"] == "false"
    row = record(gateway, answer)
    assert (row["outcome"], row["refusal"], row["policies"]) == ("refused", "no_permit", [])
    assert row["policy_version"] == gateway.admin("GET", "/status")["policy_version"]


def test_a_route_sends_another_model_upstream_and_says_so(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    sandbox.reset_bill()
    answer = ask(gateway, credential(gateway, "agent/red"), "sandbox-large")
    assert answer.status == 200
    assert answer.headers["x-comptroller-model"].startswith("sandbox-small")
    (line,) = sandbox.settled()
    assert line["model"].startswith("sandbox-small")
    row = record(gateway, answer)
    assert (row["model"], row["asked_model"], row["routed_by"]) == ("sandbox-small", "sandbox-large", "red-stays-small")
    assert row["policies"] == ["agents-may-call"]
    assert int(row["charge_usd"].replace(".", "").ljust(1)) > 0
    charged = [b for b in gateway.budgets() if b["name"] == "small-all"]
    assert charged, "budgets of the model that was called are drawn on"
    told = gateway.command("explain", row["id"]).stdout
    assert "asked for the model sandbox-large" in told
    assert "policy red-stays-small routed it to sandbox-small" in told


def test_a_routed_stream_is_charged_at_the_price_of_what_served_it(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    sandbox.reset_bill()
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential(gateway, "agent/red"))
    raw = client.chat.completions.with_raw_response.create(
        model="sandbox-large", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert raw.headers["x-comptroller-model"] == "sandbox-small"
    assert list(raw.parse())
    client.close()
    (line,) = sandbox.settled()

    def charged() -> str | None:
        (row,) = [r for r in gateway.admin("GET", "/calls") if r["id"] == raw.headers["x-comptroller-call-id"]]
        return row["charge_usd"]

    assert round(float(charged() or 0) * 10**9) == int(line["charge_nanos"])


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent?alt=sse", "countTokens", "embedContent"])
def test_a_route_changes_the_path_where_that_names_the_model(
    gateway: GatewayProcess, sandbox: SandboxProcess, method: str
) -> None:
    sandbox.reset_bill()
    content = {"parts": [{"text": "Hello"}]}
    body = {"model": "models/sandbox-large", "contents": [content], "content": content}
    path = f"/v1beta/models/sandbox-large:{method}"
    said = call(gateway, credential(gateway, "agent/red"), body, path=path)
    assert said.status == 200, said
    (line,) = sandbox.settled()
    assert line["path_query"] == f"/v1beta/models/sandbox-small:{method}"
    row = settled_row(gateway, said.call_id)
    assert (row["model"], row["asked_model"], row["routed_by"]) == ("sandbox-small", "sandbox-large", "red-stays-small")
    assert nanos(row["charge_usd"]) == int(line["charge_nanos"])


def test_a_route_to_where_nobody_can_go_stays_a_no(gateway: GatewayProcess) -> None:
    answer = ask(gateway, credential(gateway, "agent/green"), "sandbox-large")
    assert (answer.status, answer.refusal["code"]) == (402, "policy_forbidden")
    message = answer.body["error"]["message"]
    assert "nowhere-to-go" in message
    assert "team green uses the walled model" in message
    assert "'walled'" in message
    assert record(gateway, answer)["policies"] == ["nowhere-to-go"]


def test_a_cap_lets_pass_what_keeps_it_and_says_how_much_to_cut(gateway: GatewayProcess) -> None:
    key = credential(gateway, "agent/blue")
    words = [{"role": "user", "content": "x" * 1200}]
    assert ask(gateway, key, messages=words).status == 200
    answer = ask(gateway, key, messages=[{"role": "user", "content": "x" * 3000}])
    assert (answer.status, answer.refusal["code"]) == (413, "context_too_large")
    bound = int(answer.refusal["needed"])
    assert bound > 3000
    assert answer.refusal["policies"] == ["short-prompts"]
    assert f"Cut at least {bound - 2000} tokens" in answer.body["error"]["message"]
    assert "ask shorter questions" in answer.body["error"]["message"]


def test_an_approval_is_asked_for_by_its_role(gateway: GatewayProcess) -> None:
    dear = ask(gateway, credential(gateway, "agent/blue"), "sandbox-large", max_tokens=4096, n=4)
    assert (dear.status, dear.refusal["code"]) == (402, "approval_required")
    assert "approval of finops" in dear.body["error"]["message"]
    assert record(gateway, dear)["policies"] == ["dear"]


def test_a_model_list_leaves_out_what_is_never_permitted_and_nothing_else(gateway: GatewayProcess) -> None:
    def listed(name: str) -> list[str]:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential(gateway, name)) as client:
            return [model.id for model in client.models.list()]

    assert listed("agent/blue") == ["sandbox-large", "sandbox-small"]
    assert listed("agent/red") == ["sandbox-large", "sandbox-small"]  # answered, though by the small one
    assert listed("service/blue") == ["sandbox-small"]  # a condition stands in its way, and may change
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential(gateway, "service/blue")) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.models.retrieve("sandbox-large")


def test_a_policy_that_cannot_be_evaluated_denies(gateway: GatewayProcess) -> None:
    answer = ask(gateway, credential(gateway, "agent/broken"))
    assert (answer.status, answer.refusal["code"]) == (402, "policy_forbidden")
    assert "`sum`" in answer.body["error"]["message"]


def test_why_not_is_answered_from_the_registry_in_force(gateway: GatewayProcess) -> None:
    asked = ("agent/red", "sandbox-large", "--estimate", "0.50", "--input-tokens", "1500")
    found = gateway.cli("policy", "explain", *asked)
    assert found["determining"] == ["red-stays-small", "short-prompts", "dear"]
    assert (found["allowed"], found["refusal"], found["remedy"]) == (False, None, "cap_input:2000")
    bearings = {row["id"]: row["bearing"] for row in found["policies"]}
    assert bearings == {
        "agents-may-call": "holds",
        "red-stays-small": "holds",
        "nowhere-to-go": "scope",
        "short-prompts": "holds",
        "dear": "holds",
        "small-services": "scope",
        "sum": "scope",
    }
    said = gateway.command("policy", "explain", "service/blue", "sandbox-small").stdout
    assert "no policy permits it, and none forbids it" in said
    assert "its conditions do not hold" in said
    slip = gateway.command("policy", "explain", "service/blue", "sandbox-small", "--arguments", "{nope", check=False)
    assert (slip.returncode, "--arguments is no JSON" in slip.stderr) == (1, True)
    unknown = gateway.command("policy", "explain", "service/blu", "sandbox-small", check=False)
    assert unknown.returncode == 1
    assert "service/blue" in unknown.stderr


def test_a_faulty_policy_is_refused_with_every_fault_and_changes_nothing(gateway: GatewayProcess) -> None:
    before = gateway.admin("GET", "/status")
    file = gateway.folder / "policies" / "two.cedar"
    file.write_text(
        'permit (principal, action, resource);\n@id("x") forbid (principal in Team::"rad", action, resource);'
    )
    try:
        for command in (("plan",), ("apply", "--yes")):
            done = gateway.command(*command, check=False)
            assert done.returncode == 1
            assert "two.cedar:1: This policy has no @id" in done.stderr
            assert "two.cedar:2: There is no team 'rad' in the registry. Did you mean 'red'?" in done.stderr
    finally:
        file.unlink()
    after = gateway.admin("GET", "/status")
    assert (after["registry_version"], after["policy_version"]) == (
        before["registry_version"],
        before["policy_version"],
    )
    assert gateway.command("plan").returncode == 0


def install(gateway: GatewayProcess, policies: dict[str, str] | None) -> dict[str, Any]:
    text = (gateway.folder / "registry.toml").read_text()
    return gateway.admin("POST", "/registry/apply", {"registry": text, "policies": policies})


def sentences(done: dict[str, Any]) -> list[str]:
    return [change["sentence"] for change in done["changes"]]


def test_policies_come_and_go_with_the_registry_as_one_version(gateway: GatewayProcess) -> None:
    try:
        two = '@id("x") forbid (principal, action, resource);'
        done = install(gateway, {"one.cedar": POLICIES, "two.cedar": two})
        assert sentences(done) == ["add policy two.cedar: adds x"]
        one = POLICIES.replace("team red uses", "red uses")
        done = install(gateway, {"one.cedar": one, "two.cedar": two.replace('"x"', '"y"')})
        assert sentences(done) == [
            "change policy one.cedar: changes red-stays-small",
            "change policy two.cedar: adds y; removes x",
        ]
        assert install(gateway, None)["changes"] == [], "a registry alone leaves the policies as they are"
        done = install(gateway, {})
        assert [change["verb"] for change in done["changes"]] == ["disable", "disable"]
        assert "default-permit" in str(done["warnings"])
        assert gateway.admin("GET", "/status")["policies"] == 0
        assert ask(gateway, credential(gateway, "service/blue")).status == 200
        noted = [row for row in gateway.admin("GET", "/changes") if row["noun"] == "policy"]
        assert {row["verb"] for row in noted} == {"add", "change", "disable"}
    finally:
        install(gateway, {"one.cedar": POLICIES})
    assert ask(gateway, credential(gateway, "service/blue")).status == 402


def test_a_registry_that_no_longer_fits_the_installed_policies_is_refused(gateway: GatewayProcess) -> None:
    text = (gateway.folder / "registry.toml").read_text().replace("frontier", "grand")
    with pytest.raises(GatewayFailed, match="There is no model class 'frontier'"):
        gateway.admin("POST", "/registry/apply", {"registry": text})


def test_a_change_under_load_takes_effect_at_one_instant(gateway: GatewayProcess) -> None:
    """Two hundred calls are under way at any moment; each is decided by one version, and says which."""
    key = credential(gateway, "agent/blue")
    stop, warm = Event(), Event()
    shut = POLICIES + '@id("shut") forbid (principal == Identity::"agent/blue", action, resource);'
    versions = [gateway.admin("GET", "/status")["policy_version"]]

    def call_on() -> list[int]:
        found: list[int] = []
        while not stop.is_set():
            found.append(ask(gateway, key).status)
            if len(found) > 1:
                warm.set()
        return found

    since = gateway.admin("GET", "/calls")[0]["id"]
    with ThreadPoolExecutor(200) as pool:
        callers = [pool.submit(call_on) for _ in range(200)]
        assert warm.wait(60)
        install(gateway, {"one.cedar": shut})
        versions.append(gateway.admin("GET", "/status")["policy_version"])
        after = [ask(gateway, key).status for _ in range(5)]
        stop.set()
        statuses = [status for caller in callers for status in caller.result(120)]
    install(gateway, {"one.cedar": POLICIES})
    assert after == [402] * 5, "whoever comes after the answer of `apply` meets the new version"
    rows = [
        row
        for row in gateway.admin("GET", "/calls?limit=10000")
        if row["id"] > since and row["identity"] == "agent/blue"
    ]
    assert len(rows) == len(statuses) + 5
    assert {row["policy_version"] for row in rows} == set(versions)
    old, new = ([row for row in rows if row["policy_version"] == version] for version in versions)
    assert {(row["outcome"], *row["policies"]) for row in old} == {("completed", "agents-may-call")}
    assert {(row["refusal"], *row["policies"]) for row in new} == {("policy_forbidden", "shut")}
    assert max(row["at"] for row in old) <= min(row["at"] for row in new), (
        "no call of the old version after one of the new"
    )
