"""Who hears what of a server that we run: both eras, many clients, and nobody hears another's."""

import asyncio
import json
from typing import Any

import pytest

from comptroller.flow.upstream import Timeouts, UpstreamFailure
from tests.gateway.stdio.world import MODERN, Client, client_of, events, program, request, until, within, words

pytestmark = pytest.mark.processes

MODERN_META = {"io.modelcontextprotocol/protocolVersion": MODERN}


async def test_the_older_era_begins_with_a_handshake_and_has_a_session() -> None:
    async with client_of() as client:
        answer = await client.initialize()
        assert answer["result"]["serverInfo"]["name"] == "small"
        assert client.session is not None
        assert await client.tool("echo", {"a": [1, "ü\n"]}) == {"a": [1, "ü\n"]}
        assert await client.ask(method="DELETE") == (200, None)
        status, answer = await client.ask(client.call("echo"))
        assert (status, answer["error"]["code"]) == (404, -32001)


async def test_the_current_era_needs_neither() -> None:
    async with client_of() as client:
        status, answer = await client.ask(request("server/discover", _meta=MODERN_META))
        assert (status, answer["result"]["supportedVersions"]) == (200, [MODERN])
        assert await client.tool("echo", {"b": 1}) == {"b": 1}


@pytest.mark.parametrize("id_", [0, -7, "seven", "7", 1.5, 12345678901234567890])
async def test_an_answer_has_its_caller_s_id(id_: object) -> None:
    async with client_of() as client:
        _, answer = await client.ask(client.call("echo", {}, id_))
        assert answer["id"] == id_
        assert type(answer["id"]) is type(id_)


async def test_callers_share_a_process_and_none_hears_another_s_answer() -> None:
    """All of them number their requests in the same way."""
    async with client_of() as client:
        held = client.open(client.call("hold", {"name": "first"}, 1))
        waiting = asyncio.create_task(held.start())
        numbers = await asyncio.gather(*(client.ask(client.call("echo", {"n": n}, 1)) for n in range(20)))
        assert [words(answer)["n"] for _, answer in numbers] == list(range(20))
        assert len(client.log.of("server_started")) == 1
        assert not waiting.done()
        await client.tool("release", {"name": "first"})
        await within(waiting)
        assert words(json.loads(await held.read(1 << 20))) == "released"


async def test_progress_goes_to_whoever_asked_for_it() -> None:
    """The same token from two callers: the process is told two, and each hears its own."""
    async with client_of() as client:
        both = [client.ask(client.call("progress", {}, id_, progressToken="mine")) for id_ in (1, 2)]
        for number, (_, said) in enumerate(await asyncio.gather(*both), 1):
            *steps, last = said
            assert [step["params"] for step in steps] == [{"progressToken": "mine", "progress": n} for n in range(3)]
            assert (last["id"], words(last)) == (number, "done")
        assert "progressToken" not in (await client.tool("meta"))["meta"]


async def test_progress_that_nobody_asked_for_goes_nowhere() -> None:
    async with client_of() as client:
        status, said = await client.ask(client.call("progress"))
        assert (status, words(said)) == (200, "done")


async def test_what_says_not_whose_it_is_goes_to_nobody_where_many_share() -> None:
    async with client_of() as client:
        _, answer = await client.ask(client.call("log", {"data": "somebody's secret"}))
        assert words(answer) == "done"
        _, answer = await client.ask(client.call("ask"))
        assert words(answer)["error"]["code"] == -32601, "and nobody can be asked"


async def test_a_client_of_its_own_process_hears_all_of_it() -> None:
    async with client_of() as client:
        await client.initialize()
        _, said = await client.ask(client.call("log", {"data": "hello"}))
        assert [message.get("method") for message in said] == ["notifications/message", None]


async def test_a_client_is_asked_and_answers() -> None:
    async with client_of() as client:
        await client.initialize()
        call = client.open(client.call("ask"))
        await within(call.start())
        assert dict(call.headers)[b"content-type"] == b"text/event-stream"
        chunks = call.chunks()
        (asked,) = events(await within(anext(chunks)))
        assert asked["method"] == "sampling/createMessage"
        status, _ = await client.ask({"jsonrpc": "2.0", "id": "never asked", "result": {}})
        assert status == 202
        status, _ = await client.ask({"jsonrpc": "2.0", "id": asked["id"], "result": {"model": "m"}})
        assert status == 202
        (answer,) = events(await within(anext(chunks)))
        assert words(answer)["result"] == {"model": "m"}
        with pytest.raises(StopAsyncIteration):
            await within(anext(chunks))


async def test_what_a_server_says_by_itself_goes_to_the_stream() -> None:
    async with client_of() as client:
        await client.initialize()
        await client.tool("later")  # said while nobody listens: kept
        first = client.open(method="GET")
        await within(first.start())
        chunks = first.chunks()
        assert events(await within(anext(chunks)))[0]["method"] == "notifications/tools/list_changed"
        second = client.open(method="GET")
        await within(second.start())
        with pytest.raises(StopAsyncIteration):
            await within(anext(chunks))  # one stream a client: the new one takes its place
        await client.tool("later")
        assert events(await within(anext(second.chunks())))[0]["method"] == "notifications/tools/list_changed"


async def test_a_stream_may_be_silent() -> None:
    async with client_of() as client:
        await client.initialize()
        quiet = client.open(method="GET", timeouts=Timeouts(idle_s=0.05, first_byte_s=0.05, total_s=0.3))
        await within(quiet.start())
        assert [chunk async for chunk in quiet.chunks()] == [], "it ends when its time is up, and in good order"


async def test_a_subscription_is_known_by_its_caller_s_id() -> None:
    async with client_of() as client:
        timeouts = Timeouts(idle_s=0.05)
        listening = client.open(request("subscriptions/listen", "sub-1", _meta=MODERN_META), timeouts=timeouts)
        await within(listening.start())
        said: list[Any] = []
        chunks = listening.chunks()
        while len(said) < 2:
            said += events(await within(anext(chunks)))
        assert [each["params"]["_meta"] for each in said] == [{"io.modelcontextprotocol/subscriptionId": "sub-1"}] * 2
        await client.tool("echo")
        listening.abort()
        assert {"cancelled": ["listen"]} in (await client.tool("remember"))


async def test_a_session_is_one_client_s_process() -> None:
    async with client_of() as one:
        await one.initialize()
        two = Client(one.servers, one.log)
        await two.initialize()
        assert one.session != two.session
        await one.tool("remember", {"of": "one"})
        assert await two.tool("remember", {"of": "two"}) == [{"of": "two"}]
        pids = {(await client.tool("whoami"))["pid"] for client in (one, two)}
        assert len(pids) == 2


async def test_a_call_that_nobody_waits_for_is_cancelled() -> None:
    async with client_of() as client:
        await client.initialize()
        call = client.open(client.call("hold", {"name": "x"}), timeouts=Timeouts(first_byte_s=0.1))
        with pytest.raises(UpstreamFailure) as failed:
            await within(call.start())
        assert (failed.value.kind, call.written) == ("first_byte_timeout", True)
        assert await client.tool("remember") == [{"cancelled": ["x"]}, {}]


async def test_a_client_cancels_by_its_own_number() -> None:
    async with client_of() as client:
        await client.initialize()
        call = client.open(client.call("hold", {"name": "x"}, "its own"))
        waiting = asyncio.create_task(call.start())
        await client.tool("echo")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "its own"}}
        assert (await client.ask(cancel))[0] == 202
        cancel["params"] = {"requestId": "another's"}
        assert (await client.ask(cancel))[0] == 202
        assert await client.tool("remember") == [{"cancelled": ["x"]}, {}]
        waiting.cancel()
        call.abort()


async def test_in_the_current_era_nobody_cancels_another_s_call() -> None:
    async with client_of() as client:
        call = client.open(client.call("hold", {"name": "x"}, 1))
        waiting = asyncio.create_task(call.start())
        await client.tool("echo")
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        assert (await client.ask(cancel))[0] == 202
        assert await client.tool("remember") == [{}]
        waiting.cancel()
        call.abort()
        assert await client.tool("remember") == [{}, {"cancelled": ["x"]}, {}], "hanging up is how one cancels"


@pytest.mark.parametrize(
    ("message", "method", "session", "expected"),
    [
        (request("tools/list"), "POST", None, (400, -32600)),
        (request("tools/list"), "POST", "x", (404, -32001)),
        (b"[]", "POST", None, (400, -32600)),
        (b"not json", "POST", None, (400, -32600)),
        (b'{"jsonrpc":"2.0","id":1}', "POST", None, (400, -32600)),
        (None, "GET", None, (405, -32600)),
        (None, "GET", "x", (404, -32001)),
        (None, "DELETE", None, (405, -32600)),
        (None, "DELETE", "x", (404, -32001)),
        (None, "PUT", "x", (405, -32600)),
    ],
)
async def test_what_is_no_part_of_a_session_is_refused_without_a_process(
    message: object, method: str, session: str | None, expected: tuple[int, int]
) -> None:
    async with client_of() as client:
        exchange = client.open(message, method, session=session)
        await within(exchange.start())
        assert (exchange.status, json.loads(await exchange.read(1 << 20))["error"]["code"]) == expected
        assert not exchange.written
        assert client.log.lines == []


async def test_a_body_of_many_lines_is_one_message() -> None:
    async with client_of() as client:
        body = json.dumps(client.call("echo", {"a": 1}), indent=2).replace("\n", "\r\n").encode()
        _, answer = await client.ask(body)
        assert words(answer) == {"a": 1}


async def test_a_server_of_the_older_era_says_so_and_its_process_is_not_kept() -> None:
    async with client_of(program("legacy")) as client:
        status, answer = await client.ask(request("server/discover", _meta=MODERN_META))
        assert (status, answer["error"]["code"]) == (200, -32601)
        status, answer = await client.ask(client.call("echo"))
        assert (status, answer["error"]["code"]) == (400, -32022)
        assert "2025-11-25" in answer["error"]["data"]["supported"]
        await until(lambda: client.log.of("server_ended"))
        await client.initialize()
        assert await client.tool("echo", {"a": 1}) == {"a": 1}


async def test_who_is_refused_by_the_handshake_has_no_session_and_no_process() -> None:
    async with client_of() as client:
        answer = await client.initialize(refuse=True)
        assert answer["error"]["message"] == "not with you"
        assert client.session is None
        await until(lambda: client.log.of("server_ended"))


async def test_so_many_processes_and_no_more() -> None:
    async with client_of(program(processes=2)) as client:
        for _ in range(2):
            await Client(client.servers, client.log).initialize()
        status, answer = await client.ask(request("initialize"))
        assert status == 503
        assert "processes" in answer["error"]["message"]
        assert await client.tool("echo", {}) == {}, "clients of the current era share one that is not counted"


async def test_a_session_that_asks_nothing_is_over() -> None:
    async with client_of(program(idle_s=0.2)) as client:
        await client.initialize()
        await until(lambda: client.log.of("server_ended"))
        assert "nobody asked" in client.log.of("server_ended")[0]
        status, _ = await client.ask(client.call("echo"))
        assert status == 404
