"""Processes that we run: they die, hang and flood, and neither the gateway nor their other callers do."""

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import pytest

from comptroller.flow.upstream import Exchange, Timeouts, UpstreamFailure
from comptroller.gateway.stdio import conversation
from comptroller.gateway.stdio.backoff import Backoff
from tests.gateway.stdio.world import PYTHON, Client, client_of, program, request, until, within

pytestmark = pytest.mark.processes


def runs(pid: int) -> bool:
    """Whether there is such a process that is more than a corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def failure(client: Client, tool: str, **arguments: object) -> UpstreamFailure:
    call = client.open(client.call(tool, arguments))
    with pytest.raises(UpstreamFailure) as failed:
        await within(call.start())
    return failed.value


@pytest.mark.parametrize("era", ["older", "current"])
async def test_a_process_that_dies_fails_what_waits_for_it_at_once(era: str) -> None:
    async with client_of() as client:
        if era == "older":
            await client.initialize()
        other = asyncio.create_task(client.ask(client.call("hold", {"name": "x"})))
        failed = await failure(client, "die", code=7)
        assert failed.kind == "cut"
        assert "exit code 7" in failed.detail
        assert "my last words" in failed.detail
        with pytest.raises(UpstreamFailure):
            await within(other)
        (said,) = client.log.of("server_failed")
        assert "exit code 7" in said
        if era == "older":
            assert (await client.ask(client.call("echo")))[0] == 404, "so that the client initializes anew"
            await client.initialize()
        assert await client.tool("echo", {"again": True}) == {"again": True}


async def test_what_a_process_was_told_in_secret_is_in_no_log() -> None:
    secret = "-".join(["planted", "by", "this", "test"])
    says = "import os, sys; sys.stderr.write('cannot log in with ' + os.environ['TOKEN'] + '\\n')"
    told = {"PATH": "/usr/bin:/bin", "TOKEN": f"{secret}\n{secret[::-1]}"}
    async with client_of(program(command=(PYTHON, "-I", "-S", "-c", says), environ=told)) as client:
        failed = await failure(client, "echo")
        said = [failed.detail, *client.log.of("server_said"), *client.log.of("server_failed")]
        assert any("cannot log in with" in each for each in said)
        assert not any(part in each for each in said for part in (secret, secret[::-1]))


async def test_a_process_that_is_killed_is_named_by_its_signal() -> None:
    async with client_of() as client:
        pid = (await client.tool("whoami"))["pid"]
        waiting = asyncio.create_task(failure(client, "hold", name="x"))
        await client.tool("echo")
        os.kill(pid, signal.SIGKILL)
        assert "SIGKILL" in (await within(waiting)).detail


async def test_one_that_cannot_start_is_left_alone_for_longer_and_longer() -> None:
    """And nothing is written to it that anybody could be charged for."""
    async with client_of(program("dies")) as client:
        first = await failure(client, "echo")
        assert "there is no configuration" in first.detail
        await failure(client, "echo")
        third = client.open(client.call("echo"))
        with pytest.raises(UpstreamFailure, match="right after its start; the next is in") as failed:
            await within(third.start())
        assert (failed.value.kind, third.written) == ("connect", False)
        assert len(client.log.of("server_started")) <= 2


def test_how_long_it_is_left_alone() -> None:
    backoff, waits = Backoff(), list[float]()
    for _ in range(10):
        backoff.ended(lived_s=1.0, now_s=100.0)
        waits.append(backoff.wait_s(100.0))
    assert waits == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert backoff.wait_s(160.0) == 0.0
    backoff.ended(lived_s=11.0, now_s=200.0)
    assert backoff.failures == 0, "one that worked for a while ended for another reason"


@pytest.mark.parametrize("path", ["/no/such/program", "/etc/passwd"])
async def test_a_program_that_cannot_be_run_is_named(path: str) -> None:
    async with client_of(program(command=(path,))) as client:
        call = client.open(client.call("echo"))
        with pytest.raises(UpstreamFailure) as failed:
            await within(call.start())
        assert (failed.value.kind, call.written) == ("connect", False)
        assert path in failed.value.detail


async def test_one_that_hangs_is_ended_when_it_does_not_answer_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_ALIVE_S", 0.3)
    async with client_of() as client:
        call = client.open(client.call("hang"), timeouts=Timeouts(first_byte_s=0.2))
        with pytest.raises(UpstreamFailure) as failed:
            await within(call.start())
        assert failed.value.kind == "first_byte_timeout"
        await until(lambda: client.log.of("server_failed"))
        assert "it hangs" in client.log.of("server_failed")[0]
        assert await client.tool("echo", {"next": 1}) == {"next": 1}


async def test_one_that_is_slow_but_alive_is_left_running() -> None:
    async with client_of() as client:
        pid = (await client.tool("whoami"))["pid"]
        call = client.open(client.call("hold", {"name": "x"}), timeouts=Timeouts(first_byte_s=0.1))
        with pytest.raises(UpstreamFailure):
            await within(call.start())
        assert (await client.tool("whoami"))["pid"] == pid, "it answers in turn: the ping before this"
        assert client.log.of("server_failed") == []


async def test_one_that_answers_no_handshake_is_not_kept() -> None:
    async with client_of(program("silent")) as client:
        call = client.open(request("initialize"), timeouts=Timeouts(first_byte_s=0.1))
        with pytest.raises(UpstreamFailure):
            await within(call.start())
        await until(lambda: client.log.of("server_ended"))


async def test_one_that_closes_its_output_is_ended() -> None:
    async with client_of() as client:
        failed = await failure(client, "mute")
        assert failed.kind == "cut"
        assert "closed its standard output" in failed.detail


@pytest.mark.parametrize("flood", ["flood_stderr", "flood_stdout"])
async def test_a_flood_is_drained_and_the_loop_has_time_for_others(flood: str) -> None:
    async with client_of() as client:
        assert await client.tool(flood, {"seconds": 1}) == "here it comes"
        flooded = await client.tool("flooded")
        assert flooded["bytes"] > 1_000_000, "it went on"
        assert flooded["bytes"] < 1_500_000 * (flooded["seconds"] + 2), "and no faster than it is let"
        if flood == "flood_stderr":
            assert all(len(line) <= 500 for line in client.log.of("server_said"))


async def test_garbage_between_messages_is_passed_over() -> None:
    async with client_of() as client:
        await client.initialize()
        assert await client.tool("garbage") == "after the garbage"
        assert len(client.log.of("server_garbled")) == 4
        assert "Listening" not in str(client.log.lines), "what it holds may be anything: its length is said"


async def test_a_line_has_its_bound() -> None:
    async with client_of(line_bytes=1 << 20) as client:
        assert len(await client.tool("long", {"bytes": 1_000_000})) == 1_000_000
        failed = await failure(client, "endless")
        assert failed.kind == "cut"
        assert "a line of more than 1048576 bytes" in failed.detail
        assert await client.tool("echo", {"next": 1}) == {"next": 1}


async def test_an_answer_longer_than_its_reader_wants_is_refused_to_it_alone() -> None:
    async with client_of() as client:
        call = client.open(client.call("long", {"bytes": 100_000}))
        await within(call.start())
        with pytest.raises(UpstreamFailure) as failed:
            await within(call.read(1000))
        assert failed.value.kind == "too_large"
        assert await client.tool("echo", {"next": 1}) == {"next": 1}


async def test_one_that_reads_nothing_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_UNREAD_MOST_BYTES", 1 << 20)
    async with client_of() as client:
        await client.tool("deaf")
        calls: list[Exchange] = []
        for _ in range(30):
            call = client.open(client.call("echo", {"a": "x" * 100_000}))
            waiting = asyncio.create_task(call.start())
            calls.append(call)
            await until(lambda call=call, waiting=waiting: call.written or waiting.done())
            if waiting.done():
                break
            waiting.cancel()
        assert "does not read" in str(waiting.exception())
        assert len(calls) > 10
        assert not calls[-1].written
        for call in calls:
            call.abort()


async def test_a_client_that_lags_is_told_of() -> None:
    async with client_of() as client:
        await client.initialize()
        late: list[bool] = []
        stream = client.open(method="GET", limit=10, on_overflow=lambda: late.append(True))
        await within(stream.start())
        stream.chunks()  # and nobody reads on
        await client.tool("later")
        await until(lambda: late)
        assert late == [True]


async def test_what_comes_is_tapped() -> None:
    async with client_of() as client:
        await client.initialize()
        call = client.open(client.call("log"))
        await within(call.start())
        call.tap(bytes.upper)
        passed = b"".join([chunk async for chunk in call.chunks()])
        assert b"NOTIFICATIONS/MESSAGE" in passed


async def test_a_process_and_all_that_it_started_end_with_the_gateway() -> None:
    async with client_of() as client:
        pid = (await client.tool("whoami"))["pid"]
        grandchild = await client.tool("child")
        assert runs(pid)
        assert runs(grandchild)
    await until(lambda: not runs(pid) and not runs(grandchild))
    call = client.open(client.call("echo"))
    with pytest.raises(UpstreamFailure, match="shutting down"):
        await within(call.start())


async def test_one_that_does_not_want_to_end_is_killed() -> None:
    async with client_of() as client:
        pid = (await client.tool("whoami"))["pid"]
        await client.tool("stubborn")
    await until(lambda: not runs(pid))


async def test_one_that_asks_while_it_ends_is_asked_nothing_back() -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with client_of(program("talkative")) as client:
        await client.tool("echo")
    assert faults == []


async def test_its_folder_goes_with_it() -> None:
    async with client_of() as client:
        folder = (await client.tool("whoami"))["folder"]
        assert folder.startswith(tempfile.gettempdir())
    await until(lambda: not Path(folder).exists())
