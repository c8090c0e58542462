"""The off switch of a call: it ends the guarded block where it stands, with a reason, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from comptroller.flow.live import Line, LiveCalls


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_cut_ends_the_block_and_the_task_goes_on() -> None:
    line = Line()
    asyncio.get_running_loop().call_soon(line.cut, "client_gone")
    with line:
        await forever()
        pytest.fail("the block goes on after a cut")
    assert line.reason == "client_gone"
    await asyncio.sleep(0)  # the task is not cancelled any more


async def test_a_line_cut_before_the_block_ends_it_at_its_first_await() -> None:
    line = Line()
    line.cut("stopped")
    with line:
        await forever()
        pytest.fail("the block goes on after a cut")
    await asyncio.sleep(0)


@pytest.mark.parametrize("early", [True, False])
async def test_a_cut_of_a_block_in_which_nothing_waits_touches_nobody_later(*, early: bool) -> None:
    """What settles after the block waits for the disk: it is not cancelled for the block."""
    line = Line()
    if early:
        line.cut("stopped")
    with line:
        line.cut("stopped")
    for _ in range(3):
        await asyncio.sleep(0)
    assert line.reason == "stopped"


async def test_a_cut_by_the_task_itself_ends_the_block_at_its_next_await_and_no_other_block() -> None:
    line = Line()
    with line:
        line.cut("client_slow")
        await forever()
        pytest.fail("the block goes on after a cut")
    line.renew()
    with line:
        line.cut("stopped")
    line.renew()
    with line:
        for _ in range(3):
            await asyncio.sleep(0)
    assert line.reason is None


async def test_the_first_reason_stands() -> None:
    line = Line()
    line.cut("client_slow")
    line.cut("drained")
    assert line.reason == "client_slow"


async def test_a_second_reason_ends_what_is_begun_anew() -> None:
    """A stop may come between a slow caller's cut and the reading on for its usage."""
    line = Line()
    line.cut("client_slow")
    line.cut("stopped")
    line.renew()
    assert line.reason == "stopped"
    with line:
        await forever()
        pytest.fail("the block goes on after a stop")
    line.renew()
    assert line.reason is None


async def test_a_cut_after_the_block_touches_nobody() -> None:
    line = Line()
    with line:
        await asyncio.sleep(0)
    line.cut("drained")
    await asyncio.sleep(0)


async def test_errors_of_the_block_are_not_swallowed() -> None:
    line = Line()
    with pytest.raises(KeyError), line:
        raise KeyError


async def test_a_cancellation_from_outside_is_not_swallowed_even_beside_a_cut() -> None:
    line = Line()

    async def call() -> None:
        with line:
            await forever()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    line.cut("stopped")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_line_guards_one_block_after_the_other() -> None:
    line = Line()
    with line:
        await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(line.cut, "drained")
    with line:
        await forever()
    assert line.reason == "drained"


async def test_a_renewed_line_can_be_cut_again() -> None:
    line = Line()
    line.cut("client_slow")
    with line:
        await forever()
    line.renew()
    asyncio.get_running_loop().call_soon(line.cut, "drained")
    with line:
        await forever()
    assert line.reason == "drained"


async def test_quiet_is_at_once_when_nothing_is_in_flight() -> None:
    await LiveCalls().quiet()
