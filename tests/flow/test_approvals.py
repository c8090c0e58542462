"""Calls that a person, or break-glass, lets through: what counts them, how they wait, and what they are told."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from comptroller.control import registry
from comptroller.control.tokens import mint
from comptroller.core.approval.grant import Grant
from comptroller.core.effect import header_value
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.policy.break_glass import BreakGlass, Broken
from comptroller.core.refusal import Refusal
from comptroller.core.tool.pin import Pin
from comptroller.core.work.bounds import Bounds
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow import waiting
from comptroller.flow.admit import admit
from comptroller.flow.approvals import give_grant, put_ticket
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.pause import Pause
from comptroller.flow.permit import Denied
from comptroller.flow.reservation import Reservation
from comptroller.flow.waiting import Waiting
from comptroller.wire.head import Head
from comptroller.wire.planned import PLANNED
from tests.control.house import House, document, opened
from tests.harness.configuration import budget, model

USD = NANOS_PER_SECOND  # as many nanos
ASKS = """
@id("calls") permit (principal, action, resource);
@id("ask") @remedy("approval:finops") forbid (principal, action, resource == Model::"sandbox-large");
"""
ASKS_FOR_TOOLS = """
@id("ask-for-tools") @remedy("approval:finops")
forbid (principal, action == Action::"tool.call", resource in RiskClass::"destructive");
"""
NOBODY_MAY = '@id("others") permit (principal in Team::"blue", action, resource);'


class Sender:
    """Whoever has sent a call and would wait for a minute."""

    address = None
    session_hint = None
    prefers_full_hold = False
    prefers_wait_s = 60.0

    def watch(self, left: Any) -> None:
        """It stays."""

    def unwatch(self) -> None:
        """It stays."""


async def called(house: House, name: str = "sandbox-large") -> IncomingCall:
    minted = await mint(house.office, "agent/ant", None, "test")
    caller = identify(house.gate, [minted.credential])
    assert isinstance(caller, Caller)
    api, sender = PLANNED[0], Sender()
    body = msgspec.json.encode(
        {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 500}
    )
    read = api.dialect.read_request(body, Head(named=name, query=b""))
    assert not isinstance(read, Refusal)
    asked = msgspec.structs.replace(read.asked, prompt=None)
    given: Any = sender
    return IncomingCall(house.gate.clock.new_id("call"), api.dialect, given, caller, read, body, asked)


def grant(house: House, call: IncomingCall, **known: Any) -> Grant:
    now_ns = house.gate.clock.now_ns()
    terms: dict[str, Any] = {
        "id": house.gate.clock.new_id("grt"), "role": "finops", "approver": "otto", "bound": "session",
        "value": call.caller.claims.session, "given_at_ns": now_ns, "expires_at_ns": now_ns + 3600 * NANOS_PER_SECOND,
    }  # fmt: skip
    return Grant(**terms | known)


async def policies(house: House, text: str, **wanted: Any) -> None:
    await registry.apply(house.office, document(**wanted), "test", policies={"all.cedar": text})


async def test_break_glass_counts_a_call_whose_budget_a_grant_lifts(tmp_path: Path) -> None:
    roles = {"finops": {"approvers": ["otto"]}}
    wanted: dict[str, Any] = {"budgets": [budget("pool", "0.0001 USD", owner_role="finops")], "approvals": roles}
    async with opened(tmp_path, **wanted) as house:
        await policies(house, NOBODY_MAY, **wanted)
        gate, now_ns = house.gate, house.gate.clock.now_ns()
        call = await called(house)
        broken = BreakGlass("brg_1", "everything", "", USD, 600, "INC-9", now_ns, "ada", now_ns, "otto", now_ns * 2)
        gate.broken = Broken([broken])
        gate.tree.open_session(broken.id, Bounds(usd_nanos=USD))
        short = admit(gate, call)
        assert isinstance(short, Denied)
        assert short.refusal.code == "budget_exhausted"
        given = grant(house, call, suspends=False, budgets=("pool",), amount=USD)
        give_grant(gate, given)
        reserved = admit(gate, call)
        assert isinstance(reserved, Reservation), reserved
        assert reserved.hold.amounts.usd > 0
        for each in (broken.id, given.id):
            meter = gate.tree.meter(each)
            assert meter is not None
            assert meter.money is not None
            assert meter.money.held == reserved.hold.amounts.usd, each
            assert meter.key in reserved.hold.draw.keys


async def waits(house: House, call: IncomingCall) -> tuple[Pause, Denied]:
    """The denial of a call, with its ticket."""
    silent: Any = None
    pause, denied = Pause(house.gate, call, silent), admit(house.gate, call)
    assert isinstance(denied, Denied)
    return pause, await pause.asked(denied)


async def test_a_question_that_is_taken_back_is_not_asked_again_by_whoever_waits(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await policies(house, ASKS)
        call = await called(house)
        pause, told = await waits(house, call)
        assert told.wait is not None
        over = asyncio.create_task(told.wait.over())
        await asyncio.sleep(0)
        (ticket,) = house.gate.approvals.open_tickets
        now_ns = house.gate.clock.now_ns()
        put_ticket(house.gate, msgspec.structs.replace(ticket, state="withdrawn", decided_at_ns=now_ns))
        assert await over, "something has changed, so that it is decided anew"
        denied = admit(house.gate, call)
        assert isinstance(denied, Denied)
        told = await pause.asked(denied)
        assert house.gate.approvals.open_tickets == ()
        assert told.wait is None
        assert told.refusal.approval is not None
        assert (told.refusal.approval.ticket, told.refusal.approval.state) == (ticket.id, "withdrawn")
        _, told = await waits(house, call)
        assert told.refusal.approval is not None
        assert told.refusal.approval.state == "requested", "another call may ask"


async def of_tool(house: House, name: str, arguments: bytes) -> IncomingCall:
    call = await called(house)
    digest = house.gate.credentials.digest(arguments)
    use = ToolUse("files", name, arguments, digest, ("destructive",), ("path",))
    return msgspec.structs.replace(call, asked=msgspec.structs.replace(call.asked, tool=use))


async def test_a_tool_asks_with_what_it_would_be_called_with_and_a_grant_is_for_that(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await policies(house, ASKS + ASKS_FOR_TOOLS, tools={"files/*": {"risk": ["destructive"]}})
        gate = house.gate
        known = next(iter(gate.providers.values()))
        gate.providers = {**gate.providers, "mcp/files": replace(known, name="mcp/files", dialects=("mcp",))}
        for tool in ("delete", "move"):
            gate.pins.put(Pin(server="files", tool=tool, digest="one", shown="one", shown_at_ns=1))
        delete = await of_tool(house, "files/delete", b'{"path":"/srv/a","token":"hunter2"}')
        _, denied = await waits(house, delete)
        approval = denied.refusal.approval
        assert approval is not None
        assert "call files/delete again with the same arguments" in denied.refusal.hint
        ticket = gate.approvals.ticket(approval.ticket)
        assert ticket is not None
        assert (ticket.tool, ticket.model, ticket.risks, ticket.classes) == (
            "files/delete", "", ("destructive",), ("path",),
        )  # fmt: skip
        assert ticket.arguments == '{"path": "/srv/a", "token": "[masked]"}'
        _, again = await waits(house, delete)
        assert again.refusal.approval == approval, "the same question has one ticket"
        use = delete.asked.tool
        assert use is not None
        other_arguments = msgspec.structs.replace(use, arguments_digest="another")
        other_tool = msgspec.structs.replace(use, name="files/move")
        others = [
            msgspec.structs.replace(delete, asked=msgspec.structs.replace(delete.asked, tool=each))
            for each in (other_arguments, other_tool, None)
        ]
        for other in others:
            _, asked = await waits(house, other)
            assert asked.refusal.approval is not None
            assert asked.refusal.approval.ticket != approval.ticket, "another question"
        bound = {"ticket": approval.ticket, "tool": "files/delete", "arguments_digest": use.arguments_digest, "uses": 1}
        give_grant(gate, grant(house, delete, **bound))
        assert all(isinstance(admit(gate, other), Denied) for other in others)
        reserved = admit(gate, delete)
        assert isinstance(reserved, Reservation), reserved
        assert "lifted" in [each.kind for each in reserved.facts.effects]


async def test_where_too_many_wait_a_call_is_told_at_once(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(waiting, "WAITING_OF_ONE", 0)
    async with opened(tmp_path) as house:
        await policies(house, ASKS)
        pause, told = await waits(house, await called(house))
        assert told.wait is not None
        assert not await told.wait.over()
        final = pause.told(told)
        assert isinstance(final, Denied)
        assert final.headers == (), "it has not waited"
        assert final.refusal.approval is not None
        assert final.refusal.approval.state == "requested"


def test_only_so_many_wait_of_one_and_of_all(monkeypatch: Any) -> None:
    monkeypatch.setattr(waiting, "WAITING_OF_ONE", 2)
    monkeypatch.setattr(waiting, "WAITING_MOST", 3)
    calls = Waiting()
    first = calls.join("apr_1", "ant")
    assert first is not None
    assert calls.join("apr_1", "ant") is not None
    assert calls.join("apr_2", "ant") is None
    assert calls.join("apr_2", "bee") is not None
    assert calls.join("apr_3", "cat") is None
    calls.leave("apr_1", first)
    calls.leave("apr_1", first)
    assert calls.join("apr_3", "cat") is not None
    assert calls.join("apr_3", "dog") is None


async def effects(folder: Path, visible: str) -> list[str]:
    """What a call is told that passes a soft step of a budget in force and one of a budget in shadow mode."""
    steps: dict[str, Any] = {"scope": {"organization": "acme"}, "visible": visible}
    wanted: dict[str, Any] = {
        "budgets": [
            budget("pool", "5.00 USD", soft=["41% route:sandbox-small"], **steps),
            budget("shade", "5.00 USD", soft=["43% approval:finops"], mode="shadow", **steps),
        ],
        "models": {f"sandbox-{size}": model("sandbox") for size in ("large", "small")},
    }
    async with opened(folder, **wanted) as house:
        call = await called(house)
        for window in house.gate.tree.drawn_by(call.caller.facts("sandbox", "sandbox-large", None), 1).pooled:
            window.posted = window.budget.limit // 2
        reserved = admit(house.gate, call)
        assert isinstance(reserved, Reservation), reserved
        assert reserved.facts.routed_by == "budget:pool 41%", "the record says all of it"
        return header_value(reserved.facts.effects).decode().split(", ")


async def test_how_much_of_a_budget_is_used_is_told_to_those_who_may_see_it(tmp_path: Path) -> None:
    assert await effects(tmp_path / "seen", "caller") == [
        'routed;rule="pool 41%";detail="sandbox-large -> sandbox-small: 41% of pool is used"',
        'shadowed;rule="shade";detail="43% approval:finops"',
    ]
    assert await effects(tmp_path / "hidden", "operator") == [
        'routed;rule="pool";detail="sandbox-large -> sandbox-small: a share of pool is used"',
        'shadowed;rule="shade";detail="a share approval:finops"',
    ]
