"""A `requestState` of ours: good once, for the same caller and call, in its time, and never an approval."""

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.control.tokens import mint
from comptroller.core.refusal import ApprovalAsked, Refusal
from comptroller.core.work.tool_use import ToolUse
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from comptroller.flow.mcp.elicit import STATE_LASTS_S, AskingCall, Resumed, asking, resumed
from comptroller.flow.mcp.rounds import UsedStates
from comptroller.wire.mcp.asking import KEY, MARK
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.message import Message
from tests.control.house import House, opened
from tests.wire.test_mcp_asking import HEADERS, message

USE = ToolUse("files", "files/delete", b'{"path":"/srv/a"}', "d1")
APPROVAL = ApprovalAsked("apr_1", "ops", "requested", "/comptroller/v1/approvals/apr_1", "2026-11-23T03:00:00Z")
REFUSED = Refusal(code="approval_required", sentence="It needs ops.", hint="", approval=APPROVAL)
ACCEPTED = {KEY: {"action": "accept"}}


async def someone(house: House, identity: str = "agent/ant") -> Caller:
    caller = identify(house.gate, [(await mint(house.office, identity, None, "test")).credential])
    assert isinstance(caller, Caller)
    return caller


def state_of(house: House, caller: Caller, asked: Message, use: ToolUse = USE) -> str:
    dialect = asking(house.gate, caller, McpCall("files", asked, HEADERS), asked, use, HEADERS)
    assert isinstance(dialect, AskingCall)
    said = json.loads(dialect.refusal_body(REFUSED, "call_1"))["result"]
    assert said["resultType"] == "input_required"
    assert said["inputRequests"][KEY]["params"]["url"].endswith("/comptroller/approvals/apr_1")
    state = said["requestState"]
    assert state.startswith(MARK)
    assert dialect.status_of(REFUSED) == 200
    return str(state)


def back(house: House, caller: Caller, state: str, use: ToolUse = USE, responses: Any = ACCEPTED) -> Any:
    return resumed(house.gate, caller, message(requestState=state, inputResponses=responses), use)


def refused(found: Any, words: str) -> None:
    assert isinstance(found, Refusal), found
    assert found.code == "request_invalid"
    assert words in found.sentence
    assert "Call the tool again without it" in found.hint


async def test_a_state_comes_back_once_and_nothing_of_it_goes_to_the_server(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        state = state_of(house, caller, message())
        found = back(house, caller, state)
        assert isinstance(found, Resumed)
        assert json.loads(found.message.body) == json.loads(message().body)
        assert found.waits_s > 0
        refused(back(house, caller, state), "was sent back before")


async def test_what_a_server_had_asked_for_before_us_is_put_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        of_the_server = {"requestState": "opaque", "inputResponses": {"q": {"action": "accept", "content": {"n": 1}}}}
        before = message(**of_the_server)
        assert resumed(house.gate, caller, before, USE) is None, "it is the server's to read"
        found = back(house, caller, state_of(house, caller, before))
        assert isinstance(found, Resumed)
        assert json.loads(found.message.body) == json.loads(before.body)
        again = back(house, caller, state_of(house, caller, found.message))
        assert isinstance(again, Resumed)
        assert json.loads(again.message.body) == json.loads(before.body), "after another round, too"


async def test_a_state_is_for_one_caller_one_tool_and_its_arguments(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        state = state_of(house, caller, message())
        refused(back(house, await someone(house), state), "was given to another session")
        refused(back(house, await someone(house, "agent/bee"), state), "was given to another session")
        for other in ({"name": "files/move"}, {"arguments_digest": "d2"}):
            refused(back(house, caller, state, msgspec.structs.replace(USE, **other)), "for another call")
        assert isinstance(back(house, caller, state), Resumed), "who may not use it has not used it up"


async def test_a_state_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        state = state_of(house, caller, message())
        later_ns = house.gate.clock.expiry_ns() + STATE_LASTS_S * 10**9
        monkeypatch.setattr(house.gate.clock, "expiry_ns", lambda: later_ns)
        refused(back(house, caller, state), "has expired")


async def test_a_state_outlives_a_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        state = state_of(house, caller, message())
    async with opened(tmp_path) as house:
        assert isinstance(back(house, caller, state), Resumed)


async def test_nobody_else_makes_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        state = state_of(house, caller, message())
        payload, _, mac = state.removeprefix(MARK).rpartition(".")
        said = msgspec.json.decode(base64.urlsafe_b64decode(payload))
        said[5] = "d2"
        forged = base64.urlsafe_b64encode(msgspec.json.encode(said)).decode()
        digest = house.gate.credentials.digest(payload.encode())  # what bodies are known by is no signature
        for other in (
            f"{MARK}{forged}.{mac}", f"{MARK}{payload}.{mac[:-1]}", f"{MARK}{payload}.{digest}", f"{MARK}{payload}",
            MARK, f"{MARK}.", f"{MARK}é.é", f"{MARK}{payload}.{mac.upper()}.",
        ):  # fmt: skip
            refused(back(house, caller, other), "is not one that this gateway has given")


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_whoever_says_no_at_the_client_has_called_nothing(tmp_path: Path, action: str) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        found = back(house, caller, state_of(house, caller, message()), responses={KEY: {"action": action}})
        assert isinstance(found, Refusal)
        assert (found.code, "apr_1 stays open" in found.hint) == ("approval_required", True)


async def test_who_cannot_be_asked_hears_a_result_with_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        caller = await someone(house)
        silent = msgspec.structs.replace(message(), elicits=False)
        long = message(requestState="x" * 20_000)  # of a server: we cannot carry that along
        for asked in (silent, long):
            dialect = asking(house.gate, caller, McpCall("files", asked, HEADERS), asked, USE, HEADERS)
            result = json.loads(dialect.refusal_body(REFUSED, "call_1"))["result"]
            assert (result["isError"], result["resultType"]) == (True, "complete")
        asked = message()
        dialect = asking(house.gate, caller, McpCall("files", asked, HEADERS), asked, USE, HEADERS)
        denied = msgspec.structs.replace(REFUSED, approval=msgspec.structs.replace(APPROVAL, state="denied"))
        assert json.loads(dialect.refusal_body(denied, "call_1"))["result"]["isError"], "nobody is asked any more"


@given(st.lists(st.sampled_from("abcd"), max_size=20))
def test_each_is_taken_once(nonces: list[str]) -> None:
    used = UsedStates()
    taken = [each for each in nonces if used.take(each)]
    assert sorted(taken) == sorted(set(nonces))


def test_only_so_many_are_remembered() -> None:
    used = UsedStates(most=2)
    assert [used.take(each) for each in "abcba"] == [True, True, True, False, True]
