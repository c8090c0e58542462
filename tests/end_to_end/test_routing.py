"""Routing on real processes, with the official SDKs: who is sent where, what is said, what it would have cost.

The sandbox judges: a routed call and the same call of somebody who is not routed stand on its bill, and what we say the
first would have cost is what it took for the second.
"""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, nanos, settled_row
from tests.harness.configuration import budget, identity, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("all-may-call")
permit (principal, action, resource);

@id("barred-from-small")
forbid (principal == Identity::"agent/barred", action, resource in ModelClass::"small");

@id("green-goes-small") @remedy("route:small")
forbid (principal in Team::"green", action, resource in ModelClass::"frontier");
"""
WORKERS = ("red", "blue", "low", "soft", "softly", "walled", "barred", "shadowed", "sized")
IDENTITIES = {f"agent/{name}": identity("red") for name in WORKERS} | {"agent/green": identity("green")}
MODELS = {
    "sandbox-large": model("sandbox") | {"class": "frontier"},
    "sandbox-reasoner": model("sandbox") | {"class": "standard"},
    "sandbox-small": model("sandbox") | {"class": "small"},
    "walled": model("openai-only") | {"class": "apart", "upstream_model": {"openai-only": "sandbox-small"}},
}
BUDGETS = [
    budget("all", "100.00 USD"),
    budget("low", "0.10 USD", scope={"identity": "agent/low"}),
    budget("soft", "0.10 USD", scope={"identity": "agent/soft"}, soft=["25% route:standard", "50% route:small"]),
    budget("softly", "1 calls", scope={"identity": "agent/softly"}, mode="shadow", soft=["50% route:small"]),
]
TO_SMALL: Row = {"from": ["frontier"], "to": "small"}
ROUTES: list[Row] = [
    {"name": "simple-work", "scope": {"task_type": ["classification", "review", "legal"]}, **TO_SMALL},
    {"name": "walled-off", "scope": {"identity": "agent/walled"}, "from": ["frontier"], "to": "walled"},
    {"name": "when-low", "scope": {"identity": "agent/low"}, "when": {"budget_below": "50%"}, **TO_SMALL},
    {"name": "barred", "scope": {"identity": "agent/barred"}, **TO_SMALL},
    {"name": "rehearsed", "scope": {"identity": "agent/shadowed"}, "mode": "shadow", **TO_SMALL},
    {"name": "short", "scope": {"identity": "agent/sized"}, "when": {"input_tokens_under": 2_000}, **TO_SMALL},
]
ROUTING: Row = {
    "routes": ROUTES,
    "aliases": {"fast": "small", "best": "sandbox-large"},
    "classes": {"order": ["small", "standard", "frontier"]},
    "task_types": {
        "classification": {"floor": "small"},
        "review": {"floor": "standard"},
        "legal": {"floor": "frontier"},
        "triage": {"floor": "small"},
    },
}
TEXT = "Which of the three is it?"
TOKENS = 40


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("routing")
    (folder / "policies").mkdir()
    (folder / "policies" / "one.cedar").write_text(POLICIES)
    files = process(sandbox_process.url)
    files["providers"]["openai-only"] = {**files["providers"]["sandbox"], "dialects": ["openai"]}
    known = registry(BUDGETS, IDENTITIES, MODELS, **ROUTING)
    first_day = known["prices"][0]["from"]
    known["prices"].append({"model": "walled", "from": first_day, "input": "1.00", "output": "1.00"})
    with GatewayProcess(folder, files, known) as running:
        yield running
        assert "Traceback" not in running.log()


def credential(gateway: GatewayProcess, name: str, task_type: str | None = None) -> str:
    said = {} if task_type is None else {"task_type": task_type}
    return gateway.admin("POST", "/sessions/open", {"identity": f"agent/{name}", **said})["credential"]


def call(gateway: GatewayProcess, key: str, name: str = "sandbox-large", /, **fields: Any) -> Said:
    said = ask(gateway, key, chat(TEXT, model=name, max_tokens=200, **fields))
    assert said.status == 200, said
    return said


def where(gateway: GatewayProcess, said: Said) -> tuple[str, str | None, str | None]:
    """Which model was called, which was asked for where it was another, and what led it there."""
    row = settled_row(gateway, said.call_id)
    return row["model"], row["asked_model"], row["routed_by"]


def billed(sandbox: SandboxProcess, call_id: str) -> Row:
    (line,) = [line for line in sandbox.settled() if line["client_request_id"] == f"{call_id}.1"]
    return line


Raw = tuple[str, str, str]  # the call's id, the model and the effects that its answer names


def by_chat(gateway: GatewayProcess, key: str, *, stream: bool = False) -> Raw:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=30) as client:
        fields: Any = {"model": "sandbox-large", "messages": [{"role": "user", "content": TEXT}], "stream": stream}
        make: Any = client.chat.completions.with_raw_response.create
        raw = make(**fields, max_tokens=200, extra_body={"sandbox": {"output_tokens": TOKENS}})
        answer = raw.parse()
        assert list(answer) if stream else answer.choices[0].message.content
        return _said(raw.headers)


def by_responses(gateway: GatewayProcess, key: str) -> Raw:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=30) as client:
        raw = client.responses.with_raw_response.create(
            model="sandbox-large", input=TEXT, max_output_tokens=200, extra_body={"sandbox": {"output_tokens": TOKENS}}
        )
        assert raw.parse().output_text
        return _said(raw.headers)


def by_messages(gateway: GatewayProcess, key: str) -> Raw:
    with anthropic.Anthropic(base_url=gateway.url, api_key=key, timeout=30) as client:
        raw = client.messages.with_raw_response.create(
            model="sandbox-large",
            max_tokens=200,
            messages=[{"role": "user", "content": TEXT}],
            extra_body={"sandbox": {"output_tokens": TOKENS}},
        )
        assert raw.parse().content
        return _said(raw.headers)


def by_gemini(gateway: GatewayProcess, key: str) -> Raw:
    options = types.HttpOptions(base_url=gateway.url, timeout=30_000, extra_body={"sandbox": {"output_tokens": TOKENS}})
    client: Any = genai.Client(api_key=key, http_options=options, vertexai=False)
    answer = client.models.generate_content(
        model="sandbox-large", contents=TEXT, config=types.GenerateContentConfig(max_output_tokens=200)
    )
    assert answer.text
    assert answer.sdk_http_response is not None
    return _said(answer.sdk_http_response.headers or {})


def _said(headers: Any) -> Raw:
    return (
        headers["x-comptroller-call-id"],
        headers["x-comptroller-model"],
        headers.get("x-comptroller-effects", ""),
    )


def by_chat_stream(gateway: GatewayProcess, key: str) -> Raw:
    return by_chat(gateway, key, stream=True)


WAYS: dict[str, Callable[[GatewayProcess, str], Raw]] = {
    "chat": by_chat,
    "chat stream": by_chat_stream,
    "responses": by_responses,
    "messages": by_messages,
    "gemini": by_gemini,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_routed_call_says_what_it_would_have_cost_and_the_bill_of_an_unrouted_one_agrees(
    gateway: GatewayProcess, sandbox: SandboxProcess, way: str
) -> None:
    routed, served, effects = WAYS[way](gateway, credential(gateway, "red", "classification"))
    assert served.startswith("sandbox-small")
    assert effects == 'routed;rule="simple-work";detail="sandbox-large -> sandbox-small"'
    plain, served, effects = WAYS[way](gateway, credential(gateway, "blue"))
    assert served.startswith("sandbox-large")
    assert effects == ""
    row = settled_row(gateway, routed)
    assert (row["model"], row["asked_model"], row["routed_by"]) == (
        "sandbox-small",
        "sandbox-large",
        "route:simple-work",
    )
    assert nanos(row["charge_usd"]) == int(billed(sandbox, routed)["charge_nanos"])
    assert nanos(row["counterfactual_usd"]) == int(billed(sandbox, plain)["charge_nanos"])
    assert nanos(row["counterfactual_usd"]) > nanos(row["charge_usd"]) > 0
    assert settled_row(gateway, plain)["counterfactual_usd"] is None
    told = gateway.command("explain", routed).stdout
    assert "asked for the model sandbox-large" in told
    assert "The route simple-work routed it to sandbox-small" in told
    assert "It was routed" not in told, "once is enough"
    assert f"The same usage would have cost {row['counterfactual_usd']} USD" in told


def test_a_background_response_has_its_counterfactual_when_its_end_is_seen(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    def begun(key: str) -> str:
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=30) as client:
            raw = client.responses.with_raw_response.create(
                model="sandbox-large", input=TEXT, background=True, extra_body={"sandbox": {"output_tokens": TOKENS}}
            )
            return raw.headers["x-comptroller-call-id"]

    routed, plain = begun(credential(gateway, "red", "classification")), begun(credential(gateway, "blue"))
    row = settled_row(gateway, routed)
    settled_row(gateway, plain)
    assert row["routed_by"] == "route:simple-work"
    assert nanos(row["counterfactual_usd"]) == int(billed(sandbox, plain)["charge_nanos"])


def test_what_goes_on_from_a_routed_response_is_routed_too(gateway: GatewayProcess) -> None:
    key = credential(gateway, "red", "classification")
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=30) as client:
        first = client.responses.create(model="sandbox-large", input=TEXT)
        raw = client.responses.with_raw_response.create(
            model="sandbox-large", input="And now?", previous_response_id=first.id
        )
        assert raw.headers["x-comptroller-model"].startswith("sandbox-small"), "one conversation, one model"


@pytest.mark.parametrize(
    ("task_type", "served"),
    [
        ("classification", "sandbox-small"),
        ("review", "sandbox-large"),
        ("legal", "sandbox-large"),
        (None, "sandbox-large"),
    ],
)
def test_no_route_leads_below_the_floor_of_a_task_type(
    gateway: GatewayProcess, task_type: str | None, served: str
) -> None:
    said = call(gateway, credential(gateway, "red", task_type))
    assert where(gateway, said)[0] == served
    if task_type in {"review", "legal"}:
        assert "warned" in said.headers["x-comptroller-effects"]
        assert f"the floor of {task_type}" in said.headers["x-comptroller-effects"]


def test_no_remedy_leads_below_the_floor_of_a_task_type(gateway: GatewayProcess) -> None:
    assert where(gateway, call(gateway, credential(gateway, "green")))[2] == "green-goes-small"
    said = ask(gateway, credential(gateway, "green", "review"), chat(model="sandbox-large", max_tokens=20))
    assert (said.status, said.code) == (402, "policy_forbidden")
    assert "below standard, the floor of review" in said.error["message"]


def test_a_remedy_has_its_counterfactual_too(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    control = {"sandbox": {"output_tokens": TOKENS}}
    routed = call(gateway, credential(gateway, "green"), **control)
    plain = call(gateway, credential(gateway, "blue"), **control)
    row = settled_row(gateway, routed.call_id)
    assert nanos(row["counterfactual_usd"]) == int(billed(sandbox, plain.call_id)["charge_nanos"])
    assert routed.headers["x-comptroller-effects"].startswith('routed;rule="green-goes-small"')


@pytest.mark.parametrize(("alias", "served"), [("fast", "sandbox-small"), ("best", "sandbox-large")])
def test_an_alias_is_served_by_what_stands_behind_it(gateway: GatewayProcess, alias: str, served: str) -> None:
    said = call(gateway, credential(gateway, "blue"), alias)
    assert said.headers["x-comptroller-model"].startswith(served)
    assert said.headers["x-comptroller-effects"] == f'routed;rule="{alias}";detail="{alias} -> {served}: alias"'
    assert where(gateway, said) == (served, alias, None)
    assert settled_row(gateway, said.call_id)["counterfactual_usd"] is None, "an alias has no price of its own"


def test_an_alias_of_a_model_can_be_routed_on(gateway: GatewayProcess) -> None:
    said = call(gateway, credential(gateway, "red", "classification"), "best")
    assert where(gateway, said) == ("sandbox-small", "best", "route:simple-work")
    assert nanos(settled_row(gateway, said.call_id)["counterfactual_usd"]) > 0, "it would have gone to sandbox-large"


def test_lists_of_models_have_the_aliases_that_a_caller_can_use(gateway: GatewayProcess) -> None:
    def seen(name: str) -> tuple[set[str], set[str], set[str]]:
        key = credential(gateway, name)
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, timeout=30) as client:
            one = {each.id for each in client.models.list()}
        with anthropic.Anthropic(base_url=gateway.url, api_key=key, timeout=30) as other:
            two = {each.id for each in other.models.list()}
        options = types.HttpOptions(base_url=gateway.url, timeout=30_000)
        gemini = genai.Client(api_key=key, http_options=options, vertexai=False)
        three = {(each.name or "").removeprefix("models/") for each in gemini.models.list()}
        return one, two, three

    assert all({"fast", "best", "sandbox-small"} <= names for names in seen("blue"))
    for names in seen("barred"):
        assert {"best", "sandbox-large"} <= names
        assert not {"fast", "sandbox-small"} & names, "the policies never let it call what is behind it"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential(gateway, "blue"), timeout=30) as client:
        assert client.models.retrieve("fast").id == "fast"


def test_a_target_that_nobody_speaks_in_this_dialect_is_passed_over(gateway: GatewayProcess) -> None:
    key = credential(gateway, "walled")
    routed = ask(gateway, key, chat(TEXT, max_tokens=20))
    assert where(gateway, routed) == ("walled", "sandbox-large", "route:walled-off")
    message = {"model": "sandbox-large", "max_tokens": 20, "messages": [{"role": "user", "content": TEXT}]}
    said = ask(gateway, key, message, path="/v1/messages")
    assert said.status == 200
    assert where(gateway, said) == ("sandbox-large", None, None)
    assert "openai-only does not speak anthropic" in said.headers["x-comptroller-effects"]


def test_a_route_never_turns_a_yes_of_the_policies_into_a_no(gateway: GatewayProcess) -> None:
    said = call(gateway, credential(gateway, "barred"))
    assert where(gateway, said) == ("sandbox-large", None, None)
    assert 'warned;rule="barred"' in said.headers["x-comptroller-effects"]
    assert "policy_forbidden" in said.headers["x-comptroller-effects"]


def test_a_route_in_shadow_says_where_it_would_have_led(gateway: GatewayProcess) -> None:
    said = call(gateway, credential(gateway, "shadowed"))
    assert where(gateway, said) == ("sandbox-large", None, None)
    assert said.headers["x-comptroller-effects"] == (
        'shadowed;rule="rehearsed";detail="sandbox-large -> sandbox-small"'
    )
    assert settled_row(gateway, said.call_id)["effects"][0]["kind"] == "shadowed"


def test_a_route_by_size_takes_short_inputs_only(gateway: GatewayProcess) -> None:
    key = credential(gateway, "sized")
    assert where(gateway, call(gateway, key))[2] == "route:short"
    said = ask(gateway, key, chat("long " * 1_000, max_tokens=20))
    assert where(gateway, said) == ("sandbox-large", None, None)


def test_a_session_is_routed_while_a_budget_is_low_and_stays_where_it_is_routed(gateway: GatewayProcess) -> None:
    key = credential(gateway, "low")
    assert where(gateway, call(gateway, key))[2] is None
    used = 0
    while used < 50_000_000:  # half of it, in nano-USD
        said = ask(gateway, key, chat(TEXT, max_tokens=1_500, sandbox={"output_tokens": 1_500}))
        used += nanos(settled_row(gateway, said.call_id)["charge_usd"])
    assert where(gateway, call(gateway, key))[2] == "route:when-low"
    assert where(gateway, call(gateway, key))[2] == "route:when-low"


def test_soft_steps_of_a_budget_lead_down_as_it_is_used_up(gateway: GatewayProcess) -> None:
    key = credential(gateway, "soft")
    seen: list[str] = []

    def one() -> str:
        said = ask(gateway, key, chat(TEXT, max_tokens=600, sandbox={"output_tokens": 600}))
        assert said.status == 200, said
        found = where(gateway, said)
        if not seen or seen[-1] != found[0]:
            seen.append(found[0])
        assert found[2] in {None, "budget:soft 25%", "budget:soft 50%"}
        return found[0]

    eventually(lambda: one() == "sandbox-small")
    assert seen == ["sandbox-large", "sandbox-reasoner", "sandbox-small"]
    held = ask(gateway, credential(gateway, "soft", "review"), chat(TEXT, max_tokens=20))
    assert where(gateway, held)[0] == "sandbox-reasoner", "no step of a budget leads below a floor"
    vectors = ask(gateway, key, {"model": "sandbox-large", "input": TEXT}, path="/v1/embeddings")
    assert vectors.status == 200, vectors
    assert settled_row(gateway, vectors.call_id)["model"] == "sandbox-large", "what is not text is left alone"


def test_a_step_of_a_shadow_budget_says_where_it_would_have_led(gateway: GatewayProcess) -> None:
    key = credential(gateway, "softly")
    assert "x-comptroller-effects" not in call(gateway, key).headers
    said = call(gateway, key)
    assert where(gateway, said) == ("sandbox-large", None, None)
    assert said.headers["x-comptroller-effects"] == (
        'shadowed;rule="softly 50%";detail="sandbox-large -> sandbox-small: 50% of softly is used"'
    )


def test_no_route_leads_to_a_model_that_the_session_may_not_use(gateway: GatewayProcess) -> None:
    wanted = {"identity": "agent/red", "task_type": "classification", "models": ["sandbox-large"]}
    said = call(gateway, gateway.admin("POST", "/sessions/open", wanted)["credential"])
    assert where(gateway, said) == ("sandbox-large", None, None)
    assert "may not use the model 'sandbox-small'" in said.headers["x-comptroller-effects"]


def test_counting_tokens_is_free_and_stays_where_it_asks(gateway: GatewayProcess) -> None:
    key = credential(gateway, "red", "classification")
    message = {"model": "sandbox-large", "messages": [{"role": "user", "content": TEXT}]}
    said = ask(gateway, key, message, path="/v1/messages/count_tokens")
    assert said.status == 200
    assert where(gateway, said) == ("sandbox-large", None, None)


def test_savings_are_what_the_bill_of_the_unrouted_model_says(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    control = {"sandbox": {"output_tokens": TOKENS}}
    before = savings(gateway, "route").get("route:simple-work")
    routed = [call(gateway, credential(gateway, "red", "classification"), **control) for _ in range(3)]
    plain = [call(gateway, credential(gateway, "blue"), **control) for _ in range(3)]
    for said in (*routed, *plain):
        settled_row(gateway, said.call_id)
    charged = sum(int(billed(sandbox, said.call_id)["charge_nanos"]) for said in routed)
    unrouted = sum(int(billed(sandbox, said.call_id)["charge_nanos"]) for said in plain)
    after = savings(gateway, "route")["route:simple-work"]

    def more(name: str) -> int:
        return nanos(after[name]) - (nanos(before[name]) if before is not None else 0)

    assert after["calls"] - (before["calls"] if before is not None else 0) == 3
    assert (more("charge_usd"), more("counterfactual_usd")) == (charged, unrouted)
    assert more("saved_usd") == unrouted - charged
    keys = {"task_type": "classification", "identity": "agent/red", "team": "red", "model": "sandbox-large"}
    for by, key in keys.items():
        assert savings(gateway, by)[key]["calls"] >= 3, by
    told = gateway.command("savings", "--by", "route").stdout
    assert "route:simple-work" in told
    assert gateway.command("savings", "--by", "colour", check=False).returncode == 2


def test_savings_show_where_a_model_above_the_floor_was_used(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    control = {"sandbox": {"output_tokens": TOKENS}}
    dear = call(gateway, credential(gateway, "blue", "triage"), **control)
    cheap = call(gateway, credential(gateway, "blue", "triage"), "sandbox-small", **control)
    for said in (dear, cheap):
        settled_row(gateway, said.call_id)
    (row,) = [each for each in gateway.admin("GET", "/savings")["not_needed"] if each["task_type"] == "triage"]
    assert (row["floor"], row["model"], row["model_class"]) == ("small", "sandbox-large", "frontier")
    assert (row["calls"], row["instead"]) == (1, "sandbox-small")
    assert nanos(row["charge_usd"]) == int(billed(sandbox, dear.call_id)["charge_nanos"])
    assert nanos(row["instead_usd"]) == int(billed(sandbox, cheap.call_id)["charge_nanos"])
    told = gateway.command("savings")
    assert "triage" in told.stdout
    assert "cheapest model of the floor's class" in told.stderr
    earlier = gateway.admin("GET", "/savings?until=2026-01-01T00:00:00Z")
    assert (earlier["rows"], earlier["not_needed"], earlier["total"]["calls"]) == ([], [], 0)


def savings(gateway: GatewayProcess, by: str) -> dict[str, Row]:
    return {row["key"]: row for row in gateway.admin("GET", f"/savings?by={by}")["rows"]}
