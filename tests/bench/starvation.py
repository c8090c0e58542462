"""How much of a budget streams hold that they never spend: in slices, and in full, by the same agents in the same run.

Coding agents as they are recorded: a conversation of 40 to 90 KB that grows, nine tenths of it read from the cache,
32,000 tokens asked for and some 300 used, 50 at once. `make bench ARGS="starvation"`.
"""

import asyncio
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import uvloop

from comptroller.app import House, open_house
from comptroller.control.interfaces import CallFilter
from comptroller.control.tokens import mint
from comptroller.gateway.serving import Listener
from comptroller.settings import load_settings
from tests.bench.figures import Figure
from tests.bench.load import LoadFailed
from tests.bench.run import Bench
from tests.harness.configuration import KEY_VARIABLE, budget, identity, model, process, provider, registry
from tests.harness.gateway import PROVIDER_KEY
from tests.harness.toml import to_toml
from tests.sandbox.process import SandboxProcess

PART = "starvation"
ASKED = 32_000
TAIL = 64
IN, OUT, READ, WRITE = 3_000, 15_000, 300, 3_750  # nano-USD a token
USED = 300  # half of all answers have more
AMPLE = "100000.00"
SAMPLE_S = 0.02
_WORDS = Path(__file__).read_text(encoding="utf-8").split()


@dataclass(frozen=True)
class Pace:
    """How many agents there are, and how fast everything goes."""

    agents: int
    calls: int  # of each agent, one after the other
    tokens_per_s: int
    first_byte_s: float
    apart_s: float  # within which they begin

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the sandbox."""
        return (
            *("--tokens-per-s", str(self.tokens_per_s), "--first-byte-delay-s", str(self.first_byte_s)),
            *("--answer-tokens", str(USED)),
        )


RECORDED = Pace(agents=50, calls=6, tokens_per_s=60, first_byte_s=1.5, apart_s=5.0)
QUICK = Pace(agents=10, calls=2, tokens_per_s=1_200, first_byte_s=0.2, apart_s=0.5)


@dataclass
class Held:
    """What was held over time: nano-USD times seconds, and seconds, of all calls together."""

    input: float = 0.0
    output: float = 0.0
    seconds: float = 0.0

    def add(self, seconds: float, held_input: int, held_output: int) -> None:
        self.input += held_input * seconds
        self.output += held_output * seconds
        self.seconds += seconds


@dataclass
class Seen:
    """One run."""

    before: Held = field(default_factory=Held)  # the first report of usage
    after: Held = field(default_factory=Held)
    most: int = 0  # nano-USD that were posted or held at once
    ends: dict[str, int] = field(default_factory=dict[str, int])
    lowered: int = 0
    settled_input: int = 0
    settled_output: int = 0
    calls: int = 0


def measure(bench: Bench) -> list[Figure]:
    pace = QUICK if bench.quick else RECORDED
    with SandboxProcess(*pace.arguments) as sandbox:
        os.environ.setdefault(KEY_VARIABLE, PROVIDER_KEY)
        runs: dict[str, Seen] = {}

        def run(name: str, limit: str, *, full: bool) -> Seen:
            sandbox.clear_cache()
            folder = bench.folder / f"starvation-{len(runs)}"
            seen = runs[name] = uvloop.run(_run(folder, sandbox.url, limit, pace, full=full))
            bench.say(f"  {name}: {seen.calls} calls, {dict(sorted(seen.ends.items()))}, {seen.lowered} lowered")
            return seen

        sliced = run("in slices", AMPLE, full=False)
        whole = run("in full", AMPLE, full=True)
        small = sliced.most * 11 // 10  # and a tenth more
        limit = f"{small // 10**9}.{small % 10**9:09d}"
        run(f"in slices, {_usd(small)} USD", limit, full=False)
        run(f"in full, {_usd(small)} USD", limit, full=True)
    return [
        *_figures("in slices", sliced),
        *_figures("in full", whole),
        *(_carried(name, seen) for name, seen in runs.items() if "USD" in name),
    ]


def _figures(name: str, seen: Seen) -> list[Figure]:
    if not seen.calls:
        raise LoadFailed(f"{name}: no call was settled")
    figures: list[Figure] = []
    for when, held in (("before the first usage report", seen.before), ("after it", seen.after)):
        if held.seconds:
            for part, amount, settled in (
                ("input", held.input, seen.settled_input),
                ("output", held.output, seen.settled_output),
            ):
                times = amount / held.seconds / (settled / seen.calls)
                figures.append(Figure(PART, f"held over settled, {part}, {when}: {name}", "x", [times]))
    both = (seen.before.input + seen.before.output + seen.after.input + seen.after.output) / (
        seen.before.seconds + seen.after.seconds
    )
    settled = (seen.settled_input + seen.settled_output) / seen.calls
    figures.append(Figure(PART, f"held over settled, both, all the time: {name}", "x", [both / settled]))
    note = f"{(seen.settled_input + seen.settled_output) / 1e9:.2f} USD were spent in the end"
    figures.append(Figure(PART, f"most that was held or spent at once: {name}", "USD", [seen.most / 1e9], note=note))
    return figures


def _carried(name: str, seen: Seen) -> Figure:
    whole = seen.ends.get("completed", 0) - seen.lowered
    every = sum(seen.ends.values())
    return Figure(PART, f"calls that were let in with their whole limit: {name}", "%", [100 * whole / every])


async def _run(folder: Path, sandbox_url: str, limit: str, pace: Pace, *, full: bool) -> Seen:
    seen = Seen()
    async with open_house(load_settings(_files(folder, sandbox_url, limit)), os.environ, listening=True) as house:
        listener = Listener(house.door, "127.0.0.1", 0, head_bytes=65_536, stalled_s=60.0)
        await listener.start()
        sampling = asyncio.create_task(_sample(house, seen))
        agents = [_agent(house, listener.port, seen, number, pace, full=full) for number in range(pace.agents)]
        await asyncio.gather(*agents)
        sampling.cancel()
        await listener.stop()
        await house.gate.upstream.close()
        await house.office.catch_up()
        for row in await house.office.ledger.calls(CallFilter()):
            usage = row.usage
            if usage is not None and row.charge is not None:
                output = usage.output_tokens * OUT
                seen.calls += 1
                seen.settled_output += output
                seen.settled_input += row.charge.usd - output
    return seen


async def _sample(house: House, seen: Seen) -> None:
    """Look at every open hold again and again. What was given back of an input tells that its usage was reported."""
    loop, tree = asyncio.get_running_loop(), house.gate.tree
    first: dict[str, int] = {}
    then = loop.time()
    while True:
        await asyncio.sleep(SAMPLE_S)  # sleep: between two samples
        now = loop.time()
        for name, hold in tree.holds.items():
            output = hold.amounts.thinking_tokens * OUT  # of output all may be thinking
            held_input = hold.amounts.usd - output
            reported = held_input < first.setdefault(name, held_input)
            (seen.after if reported else seen.before).add(now - then, held_input, output)
        seen.most = max(
            seen.most, *(window.posted + window.held for window in tree.windows() if window.budget.unit == "usd"), 0
        )
        then = now


async def _agent(house: House, port: int, seen: Seen, number: int, pace: Pace, *, full: bool) -> None:
    dice = random.Random(f"starvation/{number}")
    credential = (await mint(house.office, "agent/coder", None, "bench")).credential
    turns = [_message(dice, "user", dice.randrange(38_000, 80_000))]
    await asyncio.sleep(dice.uniform(0, pace.apart_s))  # sleep: agents do not begin together
    for _ in range(pace.calls):
        body = {
            "model": "sandbox-large",
            "max_tokens": ASKED,
            "stream": True,
            "system": [{"type": "text", "text": "You write code.", "cache_control": {"type": "ephemeral"}}],
            "messages": [*turns[:-1], _marked(turns[-1])],
        }
        await _call(port, credential, body, seen, full=full)
        turns += [_message(dice, "assistant", 1_200), _message(dice, "user", dice.randrange(500, 4_000))]


async def _call(port: int, credential: str, body: Mapping[str, Any], seen: Seen, *, full: bool) -> None:
    content = json.dumps(body, separators=(",", ":")).encode()
    prefer = "prefer: hold=full\r\n" if full else ""
    head = (
        f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {credential}\r\nanthropic-version: 2023-06-01\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n{prefer}connection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + content)
    answer = await reader.read()
    writer.close()
    said, _, stream = answer.partition(b"\r\n\r\n")
    end = "refused" if b" 200 " not in said[:16] else "completed" if b'"end_turn"' in stream else "cut"
    seen.ends[end] = seen.ends.get(end, 0) + 1
    seen.lowered += b"x-comptroller-output-limit" in said


def _message(dice: random.Random, role: str, size: int) -> dict[str, Any]:
    words: list[str] = []
    while size > 0:
        words.append(dice.choice(_WORDS))
        size -= len(words[-1]) + 1
    return {"role": role, "content": [{"type": "text", "text": " ".join(words)}]}


def _marked(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """As coding agents mark their last message."""
    (block,) = message["content"]
    return {**message, "content": [{**block, "cache_control": {"type": "ephemeral"}}]}


def _files(folder: Path, sandbox_url: str, limit: str) -> Path:
    folder.mkdir(parents=True)
    visible = provider(sandbox_url, abort_stops_billing=True, tail_tokens=TAIL)
    price = {
        "model": "sandbox-*", "from": date(2026, 1, 1), "input": "3.00", "output": "15.00", "cache_read": "0.30",
        "cache_write": "3.75",
    }  # fmt: skip
    ample = {"usd": "1000000.00", "model_calls": 10**6, "wall_clock_s": 86_400, "thinking_tokens": 10**12}
    known = registry(
        [budget("all", f"{limit} USD")],
        {"agent/coder": identity("red")},
        {"sandbox-*": model("sandbox", max_output_tokens=ASKED, visible_output=True, context_window=200_000)},
        prices=[price],
        bounds={"agent": ample},
    )
    (folder / "registry.toml").write_text(to_toml(known))
    config = folder / "comptroller.toml"
    listening = {"listen": "127.0.0.1:1", "admin": {"listen": "127.0.0.1:2"}, "log": {"level": "error"}}
    config.write_text(to_toml(process(sandbox_url, **listening, providers={"sandbox": visible})))
    return config


def _usd(nanos: int) -> str:
    return f"{nanos / 1e9:.2f}"
