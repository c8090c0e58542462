"""The document of the admin plane: all of its routes, and every answer as it says."""

import inspect
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, get_type_hints

import jsonschema_rs
import pytest
import schemathesis

from comptroller.control import admins, api, break_glass, grants, identity_requests, notify, stops
from comptroller.control.door import Outside
from comptroller.control.proof import Proof
from comptroller.control.route import Route
from comptroller.core.approval.decide import Wanted
from comptroller.core.approval.ticket import Terms
from comptroller.core.budget.bounds import Bound
from comptroller.core.identity.admin import Actor, Role
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.records import Finding
from comptroller.settings import KeySource, NotifySettings
from comptroller.settings.values import WebhookUrl
from tests.control.asgi import ADMIN, Admin, ask
from tests.control.house import House, document, opened
from tests.control.test_approvals import asked as asked_ticket
from tests.control.test_tools import POISON, Tool, listed
from tests.harness.configuration import budget

DOCUMENT = "/api/v1/openapi.json"
KNOWN = [f"{route.method} {route.path}" for route in api.ROUTES]


ISSUERS = {"main": {"kind": "oidc", "url": "https://login.acme.example", "audience": "us", "unregistered": "request"}}
WISHED = Wanted(role="finops", terms=Terms(bound="identity"), value="agent/ant", suspends=True)
WANTED = identity_requests.Wanted("red-lead@acme.example", "tries things", "testing", "agent", None)


@pytest.fixture
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house where something has happened to everything that a route shows."""
    limits = [budget("pool", "1.00 USD"), budget("calls", "50 calls", "day", per="identity", mode="shadow")]
    rates = [{"name": "burst", "scope": {"organization": "acme"}, "limit": "60 calls/minute"}]
    async with opened(
        tmp_path_factory.mktemp("house"), budgets=limits, issuers=ISSUERS, rates=rates, tools={"files/*": {}}
    ) as house:
        call = await house.hold(5_000_000)
        call.settle(3_000_000, usage=Usage(6, 4, cached_tokens=2, reasoning_tokens=1))
        await house.refuse(Refusal(code="budget_exhausted", sentence="No.", hint="Ask.", limit="pool", needed="1"))
        at_ns = house.gate.clock.now_ns()
        house.gate.journal.offer(Finding(at_ns, "usage_missing", None, "sandbox/sandbox-large", "No report."))
        bound = Bound("sandbox", "sandbox-large", "openai_chat", 4, 20_000, quarantined=True, last_overrun_ns=at_ns)
        house.gate.bounds["sandbox", "sandbox-large", "openai_chat"] = bound
        listed(house, Tool("read"))
        listed(house, CHANGED)
        await stops.suspend(house.office, "model", "old-*", "it is out of date", "test")
        await admins.add(house.office, "olga", "operator", None, None, None, "test")
        yield house


CHANGED = Tool("read", POISON)
GRANT = {"role": "finops", "bound": "identity", "value": "agent/ant", "lasts_s": 600, "amount": "5", "reason": "INC-9"}

# What is asked of each route so that it answers: query, body. CALL and SESSION stand for ones that exist.
ASKED: Mapping[str, tuple[str, Any]] = {
    "GET /openapi.json": ("", None),
    "GET /status": ("", None),
    "GET /identities": ("", None),
    "GET /identity-requests": ("all=true", None),
    "POST /identity-requests/{request}/approve": ("", {"name": "agent/new", "team": "red", "reason": "as agreed"}),
    "POST /identity-requests/{request}/deny": ("", {"reason": "nobody knows of it"}),
    "GET /budgets": ("", None),
    "GET /rates": ("", None),
    "GET /calls": ("limit=5&since=2026-01-01T00:00:00Z", None),
    "GET /spend": ("by=model&since=2026-01-01T00:00:00Z&until=2099-01-01T00:00:00Z&team=red&limit=5", None),
    "GET /savings": ("by=route&since=2026-01-01T00:00:00Z&until=2099-01-01T00:00:00Z", None),
    "GET /calls/{call}/explanation": ("", None),
    "POST /calls/{call}/corrections": ("", {"charge_usd": "0.004", "reason": "line 7 of the invoice"}),
    "GET /sessions": ("all=true", None),
    "POST /sessions": ("", {"identity": "agent/ant"}),
    "POST /sessions/open": ("", {"identity": "agent/ant", "task_type": "ticket", "bounds": {"usd": "1.00"}}),
    "GET /sessions/{session}": ("", None),
    "GET /sessions/{session}/tree": ("", None),
    "POST /sessions/{session}/close": ("", {"outcome": "succeeded"}),
    "POST /sessions/{session}/narrow": ("", {"bounds": {"usd": "1.00"}, "reason": "it only reads"}),
    "POST /sessions/{session}/renew": ("", {"bounds": {"usd": "60.00"}, "reason": "it takes longer"}),
    "POST /sessions/{session}/end": ("", {"reason": "runaway"}),
    "GET /stops": ("all=true", None),
    "POST /stops": ("", {"scope": "team", "value": "blue", "reason": "a leak"}),
    "POST /stops/resume": ("", {"scope": "model", "value": "old-*", "reason": "it is needed once more"}),
    "GET /bounds": ("", None),
    "POST /bounds/resume": ("", {"provider": "sandbox", "model": "sandbox-large", "reason": "seen to"}),
    "GET /secrets": ("all=true", None),
    "POST /secrets": ("", {"identity": "agent/bee", "expires_s": 3600}),
    "POST /secrets/{secret}/revoke": ("", {"reason": "it was in a chat"}),
    "POST /login": ("", {"token": "that of an issuer"}),
    "GET /admins": ("", None),
    "POST /admins": ("", {"name": "ada@acme.example", "role": "viewer", "lifetime_s": 3600}),
    "POST /admins/{admin}/rotate": ("", {}),
    "POST /admins/{admin}/disable": ("", {"reason": "has left"}),
    "GET /break-glass": ("", None),
    "POST /break-glass": ("", {"scope": "team", "value": "red", "lasts_s": 60, "limit_usd": "5", "reason": "INC-9"}),
    "POST /break-glass/{grant}/confirm": ("", None),
    "POST /break-glass/{grant}/end": ("", None),
    "GET /approvals": ("all=true", None),
    "GET /approvals/{ticket}": ("", None),
    "POST /approvals/{ticket}/approve": ("", {"amount": "5.00", "uses": "any", "lasts_s": 600, "reason": "INC-9"}),
    "POST /approvals/{ticket}/deny": ("", {"reason": "use the small one"}),
    "POST /chat-answers": ("", {"token": "what a chat tool has signed"}),
    "GET /grants": ("", None),
    "POST /grants": ("", GRANT),
    "POST /grants/{grant_id}/revoke": ("", {"reason": "the incident is over"}),
    "GET /tools": ("server=files", None),
    "GET /tools/definition": ("name=files/read", None),
    "POST /tools/accept": ("", {"name": "files/read", "digest": CHANGED.digest, "reason": "looked at with ada"}),
    "POST /tools/reject": ("", {"name": "files/read", "digest": CHANGED.digest, "reason": "it asks for keys"}),
    "POST /keys/rotate": ("", {"reason": "routine"}),
    "GET /findings": ("", None),
    "GET /changes": ("", None),
    "GET /notify": ("", None),
    "POST /notify/{receiver}/test": ("", None),
    "GET /notify/failed": ("limit=5", None),
    "POST /notify/retry": ("", {"receiver": "ops"}),
    "GET /prices": ("model=sandbox-large&at=2026-11-01", None),
    "GET /reprice": ("since=2026-01-01T00:00:00Z", None),
    "POST /registry/plan": ("", {"registry": document(budgets=[budget("new", "1.00 USD")])}),
    "POST /registry/apply": ("expected_version=1", {"registry": document(budgets=[budget("new", "1.00 USD")])}),
    "POST /policies/explanation": ("", {"identity": "agent/ant", "model": "sandbox-large"}),
    "POST /simulation": ("", {"identity": "agent/ant", "model": "sandbox-large", "input_tokens": 10}),
}


# What takes somebody with a name, in this role.
NAMED: Mapping[str, Role] = {
    "POST /break-glass": "operator",
    "POST /break-glass/{grant}/confirm": "approver",
    "POST /break-glass/{grant}/end": "operator",
    "POST /approvals/{ticket}/approve": "approver",
    "POST /approvals/{ticket}/deny": "approver",
    "POST /grants": "approver",
    "POST /grants/{grant_id}/revoke": "approver",
}
# tests/end_to_end/test_admins.py logs in, with a real issuer; tests/control/test_chat_answers.py answers.
SIGNED = {"POST /login", "POST /chat-answers"}


async def a_dead_letter(house: House) -> None:
    """A receiver that nobody answers for, and a notice that it did not get."""
    url, secret = WebhookUrl("http", "127.0.0.1", 9, "/"), KeySource("env", "HOOK_SECRET")
    await notify.begin(house.office, [NotifySettings(name="ops", url=url, secret=secret)], {})
    assert house.office.notifying is not None
    outbox = house.office.notifying.outbox
    outbox.emit("stop.suspended", "team red", {"reason": "a fire"})
    (pending,) = outbox.receivers["ops"].waiting.values()
    outbox.give_up(outbox.receivers["ops"], pending, "nobody answers")


def door(house: House) -> Any:
    return api.build(house.office, Outside(Admin()))


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in SIGNED])
async def test_every_answer_is_as_the_document_says(house: House, name: str) -> None:
    assert name in ASKED, f"{name} is new: say in ASKED what makes it answer"
    app = door(house)
    whole = (await ask(app, "GET", DOCUMENT)).body
    call = (await ask(app, "GET", "/api/v1/calls?outcome=completed")).body[0]["id"]
    session = (await ask(app, "POST", "/api/v1/sessions", {"identity": "agent/bee"})).body["session"]
    issued = (await ask(app, "POST", "/api/v1/secrets", {"identity": "agent/bee", "expires_s": 60})).body["id"]
    eve = Actor("eve", "operator", named=True)
    if house.office.admins.get(eve.name) is None:
        await admins.add(house.office, eve.name, eve.role, None, None, None, "test")
    ivy = Actor("ivy", "approver", named=True)
    await admins.add(house.office, ivy.name, ivy.role, None, None, None, "test")
    asked = await break_glass.ask(house.office, "team", "red", 60, 10**9, "a fire", eve)
    proof = Proof(house.gate.registry.federation.issuers["main"], {"sub": "somebody"})
    wished, _ = await identity_requests.ask(house.office, proof, WANTED)
    await a_dead_letter(house)
    places = {
        "{receiver}": "ops",
        "{call}": call,
        "{session}": session,
        "{secret}": issued,
        "{admin}": "olga",
        "{grant}": asked.id,
        "{request}": wished.id,
        "{ticket}": await asked_ticket(house),
        "{grant_id}": (await grants.give(house.office, WISHED, "INC-8", ivy)).id,
    }
    credential: str | None = ADMIN
    if name in NAMED:
        credential = (await admins.add(house.office, "otto", NAMED[name], None, None, None, "test")).credential
    method, _, path = name.partition(" ")
    query, body = ASKED[name]
    target = f"/api/v1{path}?{query}"
    for place, value in places.items():
        target = target.replace(place, value)
    said = await ask(app, method, target, b"" if body is None else body, credential=credential)
    assert said.status == 200, said.body
    schema = whole["paths"][f"/api/v1{path}"][method.lower()]["responses"]["200"]["content"]["application/json"]
    complaints = [each.message for each in validator(whole, schema["schema"]).iter_errors(said.body)]
    assert not complaints, complaints
    assert said.body != [], "an empty list shows nothing"


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in SIGNED])
async def test_every_route_wants_the_admin_credential(house: House, name: str) -> None:
    method, _, path = name.partition(" ")
    session = (await ask(door(house), "POST", "/api/v1/sessions", {"identity": "agent/ant"})).body["credential"]
    for credential, status in ((None, 401), ("guess", 401), (session, 403)):
        assert (await ask(door(house), method, f"/api/v1{path}", credential=credential)).status == status


async def test_problems_are_as_the_document_says(house: House) -> None:
    app = door(house)
    whole = (await ask(app, "GET", DOCUMENT)).body
    for method, path, body, status in (
        ("GET", "/api/v1/calls?limit=0", b"", 400),
        ("GET", "/api/v1/calls/call_nope/explanation", b"", 404),
        ("POST", "/api/v1/registry/plan", {"registry": "x = 1"}, 422),
    ):
        said = await ask(app, method, path, body)
        assert said.status == status
        assert said.body["status"] == status
        schema = whole["components"]["responses"][f"Problem{status}"]["content"]["application/problem+json"]["schema"]
        validator(whole, schema).validate(said.body)


def test_every_example_is_of_a_route() -> None:
    assert list(ASKED) == KNOWN, "ASKED stands in the order of ROUTES"


@pytest.mark.parametrize("route", api.ROUTES, ids=KNOWN)
def test_every_route_says_what_it_is_for_and_answers_with_a_type(route: Route) -> None:
    assert re.fullmatch(r"[A-Z][^\n]*\.", (inspect.getdoc(route.act) or "").partition("\n")[0])
    assert get_type_hints(route.act)["return"] not in {object, Any, dict, list}, "an answer is rows of a known shape"
    assert not set(route.problems) & {400, 401, 403, 408, 413, 415, 429, 500, 503}, "these are said of every route"


async def test_a_name_in_the_document_is_one_thing(house: House) -> None:
    """Two types of one name would go by their modules' paths."""
    whole = (await ask(door(house), "GET", DOCUMENT)).body
    assert not [name for name in whole["components"]["schemas"] if not re.fullmatch(r"[A-Z]\w+", name)]
    names = [each["operationId"] for path in whole["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names) == len(api.ROUTES)


async def test_it_is_valid_openapi(house: House) -> None:
    whole = (await ask(door(house), "GET", DOCUMENT)).body
    schemathesis.openapi.from_dict(whole).validate()


def validator(whole: Any, schema: Any) -> jsonschema_rs.Validator:
    """Holds an answer against a schema of the document, in which nothing may be that it does not name."""
    components = {
        name: one | {"additionalProperties": False} if "properties" in one else one
        for name, one in whole["components"]["schemas"].items()
    }
    return jsonschema_rs.Draft202012Validator(schema | {"components": {"schemas": components}})
