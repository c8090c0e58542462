"""Tools that need an approval, on a running gateway: asked, approved by a person, and carried out once.

The sandbox's bill judges what was carried out; the official SDK is the client, in both eras.
"""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import mcp_types as types
import pytest

from tests.end_to_end.caller import Row, eventually
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.mcp import META, McpClient, Said
from tests.mcp_peers.sdk import ERAS, connected
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICY = """
@id("models") permit (principal, action == Action::"model.call", resource);
@id("tools") permit (principal, action == Action::"tool.call", resource in Server::"desk");
@id("money-is-asked-for") @remedy("approval:ops") @reason("money leaves the house")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"spends_money");
@id("asks-are-asked-for") @remedy("approval:ops") @reason("the desk asks back")
forbid (principal, action == Action::"tool.call", resource == Tool::"desk/ask");
"""
TOOLS = {"desk/*": {"risk": ["read"]}, "desk/pay": {"risk": ["spends_money"]}}
ELICITS: Row = META | {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}
KEY = "comptroller/approval"
ACCEPTED = {KEY: {"action": "accept"}}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("mcp-approvals")
    servers = {"desk": {"url": f"{sandbox_process.url}/mcp/desk"}}
    budgets = [budget("all", "10.00 USD"), budget("uses", "1000 tool_calls")]
    table = registry(budgets, tools=TOOLS, approvals={"ops": {"approvers": ["ada"]}})
    table["prices"] = [*table["prices"], {"tool": "desk/pay", "from": date(2026, 1, 1), "request": "0.01"}]
    (folder / "policies").mkdir()
    (folder / "policies" / "all.cedar").write_text(POLICY)
    files = process(sandbox_process.url, servers=servers, policies="policies", limits={"approval_wait_s": 30})
    with GatewayProcess(folder, files, table) as running:
        for name, role in (("otto", "admin"), ("ada", "approver")):  # whoever opens sessions does not answer for them
            running.env[name] = running.admin("POST", "/admins", {"name": name, "role": role})["credential"]
            running.named = running.env["otto"]
        yield running
        assert "Traceback" not in running.log()


class Desk(McpClient):
    """Somebody who pays by the desk, with who answers beside them."""

    def __init__(self, gateway: GatewayProcess, *, elicits: bool = False) -> None:
        super().__init__(gateway.url, "desk", gateway.token("agent/ant"))
        self.meta = ELICITS if elicits else META
        self.tools()

    def pay(self, to: str, **more: Any) -> Said:
        return self.again("pay", {"to": to, "amount_usd": "5"}, **more)

    def again(self, tool: str, arguments: Row, *, wait_s: int | None = None, **more: Any) -> Said:
        headers = {} if wait_s is None else {"prefer": f"wait={wait_s}"}
        return self.ask("tools/call", {"name": tool, "arguments": arguments, **more}, tool, **headers)


def ticket_of(said: Said) -> Row:
    assert said.status == 200
    assert said.refusal == "approval_required", said.message
    return said.result["_meta"]["comptroller/refusal"]["approval"]


def answer(gateway: GatewayProcess, ticket: str, verb: str = "approve") -> None:
    gateway.named = gateway.env["ada"]
    gateway.admin("POST", f"/approvals/{ticket}/{verb}", {"reason": "INC-9"})
    gateway.named = gateway.env["otto"]


def allowance(gateway: GatewayProcess, desk: Desk) -> Row:
    with urlopen(Request(f"{gateway.url}/comptroller/v1/allowance", headers=desk.headers)) as said:
        return json.loads(said.read())


def paid(sandbox: SandboxProcess, to: str) -> int:
    """How often the sandbox was asked to pay somebody, as its own bill has it."""
    with urlopen(f"{sandbox.url}/sandbox/mcp/bill/calls?after=0") as answer:
        lines = [json.loads(line) for line in answer.read().decode().splitlines() if line]
    return sum(line["ran"] and line["name"] == "pay" and line["arguments"]["to"] == to for line in lines)


def asked(said: Said) -> tuple[Row, str]:
    """The question of a round, and the state to bring back."""
    assert said.status == 200
    assert said.result["resultType"] == "input_required", said.message
    return said.result["inputRequests"][KEY]["params"], said.result["requestState"]


def test_a_yes_is_for_one_call_with_these_arguments(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    desk = Desk(gateway)
    said = desk.pay("ann-once")
    ticket = ticket_of(said)["ticket"]
    assert said.result["isError"]
    assert "call desk/pay again with the same arguments" in said.text
    shown = gateway.command("approvals", "show", ticket).stdout
    assert '"to": "ann-once"' in shown
    assert "asks ops for desk/pay" in shown
    assert ticket_of(desk.pay("ann-once"))["ticket"] == ticket, "the same question"
    assert [(each["id"], each["tool"]) for each in allowance(gateway, desk)["approvals"]] == [(ticket, "desk/pay")]
    answer(gateway, ticket)
    given = allowance(gateway, desk)["grants"]
    assert [(each["tool"], each["uses_left"]) for each in given] == [("desk/pay", 1)]
    assert gateway.admin("GET", f"/approvals/{ticket}")["ticket"]["arguments"] == "", "nobody sees them any more"
    other = ticket_of(desk.pay("bob-once"))["ticket"]
    assert other != ticket, "other arguments ask anew"
    swapped = desk.again("pay", {"amount_usd": "5", "to": "ann-once"})
    assert not swapped.result.get("isError"), "the order of keys is nothing that anybody approves"
    assert "lifted;rule=" in swapped.headers["x-comptroller-effects"]
    assert ticket_of(desk.pay("ann-once"))["ticket"] not in {ticket, other}, "the same again asks anew"
    assert (paid(sandbox_process, "ann-once"), paid(sandbox_process, "bob-once")) == (1, 0)


def test_of_two_at_once_one_goes_through(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    desk = Desk(gateway)
    answer(gateway, ticket_of(desk.pay("cleo-at-once"))["ticket"])
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(desk.pay, ["cleo-at-once"] * 8))
    assert sum(not each.result.get("isError") for each in said) == 1
    assert {each.refusal for each in said} == {"", "approval_required"}
    assert paid(sandbox_process, "cleo-at-once") == 1


def test_a_restart_in_between_forgets_no_approval(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    desk = Desk(gateway, elicits=True)
    question, state = asked(desk.pay("dora-restart"))
    ticket = question["url"].rpartition("/")[2]
    gateway.kill9()
    gateway.start()
    assert gateway.admin("GET", f"/approvals/{ticket}")["ticket"]["tool"] == "desk/pay"
    answer(gateway, ticket)
    gateway.kill9()
    gateway.start()
    desk.tools()
    done = desk.pay("dora-restart", requestState=state, inputResponses=ACCEPTED)
    assert not done.result.get("isError"), done.message
    gateway.kill9()
    gateway.start()
    desk.tools()
    asked(desk.pay("dora-restart", requestState=state, wait_s=1))  # of a state nobody remembers: anew
    assert paid(sandbox_process, "dora-restart") == 1


def test_a_no_is_a_result_with_its_reason(gateway: GatewayProcess) -> None:
    desk = Desk(gateway, elicits=True)
    question, state = asked(desk.pay("eve-denied"))
    ticket = question["url"].rpartition("/")[2]
    answer(gateway, ticket, "deny")
    said = desk.pay("eve-denied", requestState=state, inputResponses=ACCEPTED)
    assert said.result["isError"]
    assert "ada has denied it: INC-9" in said.text


def test_what_is_still_open_is_asked_again_after_a_while(gateway: GatewayProcess) -> None:
    desk = Desk(gateway, elicits=True)
    question, state = asked(desk.pay("finn-open"))
    assert question["mode"] == "url"
    again, other = asked(desk.pay("finn-open", requestState=state, inputResponses=ACCEPTED, wait_s=1))
    assert (again["url"], other != state) == (question["url"], True)
    with urlopen(question["url"]) as page:  # anybody may open it, and nothing is told there
        told = page.read().decode()
    assert question["url"].rpartition("/")[2] in told
    assert "finn-open" not in told
    with pytest.raises(HTTPError):
        urlopen(question["url"] + "%22%3E%3Cscript%3E")


def waiting(gateway: GatewayProcess, to: str) -> str:
    """The ticket of whoever waits to pay somebody."""
    rows = eventually(lambda: [row for row in gateway.admin("GET", "/approvals") if to in row["arguments"]])
    return rows[0]["id"]


def test_a_call_waits_for_its_answer(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    """With `Prefer: wait`, and in each round after the first without it."""
    plain, desk = Desk(gateway), Desk(gateway, elicits=True)
    _, state = asked(desk.pay("gil-rounds"))
    with ThreadPoolExecutor(2) as pool:
        preferring = pool.submit(plain.pay, "gil-prefers", wait_s=30)
        coming_back = pool.submit(desk.pay, "gil-rounds", requestState=state, inputResponses=ACCEPTED)
        answer(gateway, waiting(gateway, "gil-prefers"))
        answer(gateway, waiting(gateway, "gil-rounds"))
        for each in (preferring.result(), coming_back.result()):
            assert not each.result.get("isError"), each.message
        assert preferring.result().headers["preference-applied"] == "wait=30"
        assert "preference-applied" not in coming_back.result().headers
    assert (paid(sandbox_process, "gil-prefers"), paid(sandbox_process, "gil-rounds")) == (1, 1)


def refused(said: Said, words: str) -> None:
    assert said.error["code"] == -32602, said.message
    assert said.refusal == "request_invalid"
    assert words in said.text


def test_a_state_that_is_not_theirs_is_refused(gateway: GatewayProcess, sandbox_process: SandboxProcess) -> None:
    desk, other = Desk(gateway, elicits=True), Desk(gateway, elicits=True)
    question, state = asked(desk.pay("gus-state"))
    answer(gateway, question["url"].rpartition("/")[2])
    flipped = state[:-1] + ("0" if state[-1] != "0" else "1")
    refused(desk.pay("gus-state", requestState=flipped), "is not one that this gateway has given")
    refused(other.pay("gus-state", requestState=state), "was given to another session")
    refused(desk.pay("someone-else", requestState=state), "for other arguments")
    assert paid(sandbox_process, "gus-state") == 0
    said = desk.pay("gus-state", requestState=state, inputResponses={KEY: {"action": "decline"}})
    assert (said.result["isError"], "has declined" in said.text) == (True, True)
    refused(desk.pay("gus-state", requestState=state, inputResponses=ACCEPTED), "was sent back before")
    assert paid(sandbox_process, "gus-state") == 0
    assert not desk.pay("gus-state").result.get("isError"), "the approval is still there"


def counted(gateway: GatewayProcess) -> int:
    """How many tool calls there were, as the books have it."""
    return next(row["posted"] for row in gateway.admin("GET", "/budgets") if row["name"] == "uses")


def test_what_a_server_asks_for_itself_passes_and_is_kept_apart(gateway: GatewayProcess) -> None:
    """One approval is for the call, however many rounds its server needs to carry it out."""
    desk, before = Desk(gateway, elicits=True), counted(gateway)
    arguments = {"question": "which one?"}
    question, state = asked(desk.again("ask", arguments))
    answer(gateway, question["url"].rpartition("/")[2])
    theirs = desk.again("ask", arguments, requestState=state, inputResponses=ACCEPTED).result
    assert theirs["resultType"] == "input_required"
    assert KEY not in theirs["inputRequests"]
    (key,) = theirs["inputRequests"]
    answers = {key: {"action": "accept", "content": {"answer": "the red one"}}}
    more: Row = {"inputResponses": answers} | (
        {"requestState": theirs["requestState"]} if "requestState" in theirs else {}
    )
    done = desk.again("ask", arguments, **more)
    assert done.result.get("resultType", "complete") == "complete", done.message
    assert not done.result.get("isError"), done.message
    assert counted(gateway) == before + 1, "four rounds, of which one has carried it out"
    asked(desk.again("ask", arguments))  # the same again asks anew


class Person:
    """Who sits at the client, and sees to it that what it is sent to is approved."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.gateway, self.opened = gateway, list[str]()

    async def __call__(self, context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestURLParams)
        self.opened.append(params.url)
        await asyncio.to_thread(answer, self.gateway, params.url.rpartition("/")[2])
        return types.ElicitResult(action="accept")


async def test_the_official_client_asks_its_user_and_goes_on(
    gateway: GatewayProcess, sandbox_process: SandboxProcess
) -> None:
    person, to = Person(gateway), {"to": "hal-sdk", "amount_usd": "5"}
    url, credential = f"{gateway.url}/mcp/desk", gateway.token("agent/ant")
    async with connected(url, credential, mode="modern", elicitation_callback=person) as client:
        await client.list_tools()
        assert not (await client.call_tool("pay", to)).is_error
        assert not (await client.call_tool("pay", to)).is_error
    assert len(set(person.opened)) == 2, "each call has its own approval"
    assert paid(sandbox_process, "hal-sdk") == 2


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_cannot_ask_hears_what_to_do(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, mode: str
) -> None:
    to = {"to": f"ida-{mode}", "amount_usd": "5"}
    async with connected(f"{gateway.url}/mcp/desk", gateway.token("agent/ant"), mode=mode) as client:
        await client.list_tools()
        said = await client.call_tool("pay", to)
        assert said.is_error
        meta: Any = said.meta
        ticket = meta["comptroller/refusal"]["approval"]["ticket"]
        await asyncio.to_thread(answer, gateway, ticket)
        assert not (await client.call_tool("pay", to)).is_error
        assert (await client.call_tool("pay", to)).is_error
    assert paid(sandbox_process, f"ida-{mode}") == 1
