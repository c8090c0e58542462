"""The incidents. Each goes on to its end, whatever it hears: what leaks after the first refusal counts, too."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.end_to_end.caller import Row, mint
from tests.incidents.agent import Agent, Message, assistant, tool_call, tool_result, user
from tests.incidents.world import World

TOOLS: list[Row] = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("book", "read_log")]

REPLANS = 250
ROUNDS = 200
SUB_AGENTS, CALLS_OF_EACH = 280, 3
TURNS, PAGE_WORDS = 130, 300
WORKERS, POISONED = 8, 160
CLIENTS, TRIES = 30, 30


@dataclass
class Told:
    """Which calls an incident made, and what it heard."""

    calls: set[str] = field(default_factory=set[str])
    heard: Counter[str] = field(default_factory=Counter[str])

    def add(self, agents: Iterable[Agent]) -> None:
        for agent in agents:
            self.calls |= agent.calls
            self.heard += agent.heard


def replan(world: World) -> Told:
    """A tool is busy for days, and each time the agent plans again."""
    told = Told()
    with _agent(world, "agent/planner") as agent:
        talk: list[Message] = [user("Book the large room for Thursday, and tell me when that is done.")]
        for number in range(REPLANS):
            agent.say(talk, tools=TOOLS)
            plan = f"The service was busy. Attempt {number}: I will wait for a moment and try once more."
            busy = f"Error: 429 Too Many Requests. Retry after {number % 60} s. Request req_{number:08x} was dropped."
            talk += [
                tool_call(number, "book", {"room": "large", "day": "Thursday", "attempt": number}, plan),
                tool_result(number, busy),
            ]
            if len(talk) > 120:  # it fits its context by itself, as agents do
                del talk[1:61]
        told.add([agent])
    return told


def ping_pong(world: World) -> Told:
    """Two sub-agents hand each other a draft."""
    told = Told()
    draft = "The large room is booked on Thursdays only when the small one is taken, and never before nine. " * 40
    with (
        _agent(world, "agent/editor") as editor,
        _child(editor, "agent/writer") as writer,
        _child(editor, "agent/critic") as critic,
    ):
        for number in range(ROUNDS):
            writer.say([user("You write."), assistant(draft), user(f"Checked, round {number}: please check it again.")])
            critic.say([user("You review."), assistant(draft), user(f"Here it is, round {number}: please check it.")])
        told.add([editor, writer, critic])
    return told


def swarm(world: World) -> Told:
    """Many sub-agents at once, and none of them ends before the last has begun."""
    told = Told()
    with _agent(world, "agent/conductor") as conductor:

        def begin(number: int) -> Agent:
            with Agent(world.gateway, conductor.credential) as asking:
                return asking.child(f"reader-{number}") or Agent(world.gateway, conductor.credential)

        def work(numbered: tuple[int, Agent]) -> Agent:
            number, agent = numbered
            with agent:
                for part in range(CALLS_OF_EACH):
                    agent.say([user(f"Read source {number}, part {part}. " + _page(number * 10 + part, 120))])
            return agent

        with ThreadPoolExecutor(8) as pool:
            agents = list(pool.map(begin, range(SUB_AGENTS)))
            told.add(pool.map(work, enumerate(agents)))
    return told


def growth(world: World) -> Told:
    """Each turn sends all that came before, and a page more."""
    told = Told()
    with _agent(world, "agent/analyst") as agent:
        talk: list[Message] = [user("Find out from the logs why the orders were late.")]
        for number in range(TURNS):
            talk += [tool_call(number, "read_log", {"page": number}), tool_result(number, _page(number, PAGE_WORDS))]
            heard = agent.say(talk, tools=TOOLS)
            if heard.answered:
                talk.append(assistant(heard.body["choices"][0]["message"]["content"] or "Go on."))
            talk.append(user(f"Go on with page {number + 1}."))
        told.add([agent])
    return told


def outage(world: World) -> Told:
    """Everybody sends again while the one provider is down, and bills what it made."""
    told = Told()
    world.west.faults({"fault": "server_error_billed"})

    def insist(number: int) -> Agent:
        with _agent(world, "agent/fleet") as agent:
            for _ in range(TRIES):
                agent.say([user(f"Summarize case {number}. " + _page(number, 150))], model="only-north")
        return agent

    with ThreadPoolExecutor(8) as pool:
        told.add(pool.map(insist, range(CLIENTS)))
    world.west.clear_faults()
    return told


def poison(world: World) -> Told:
    """One request makes every provider fail, and bill it; workers send it again and again, between other work."""
    told = Told()
    poisoned: Row = {"sandbox": {"fault": "server_error_billed", "output_tokens": 150}}

    def insist(number: int) -> Agent:
        with _agent(world, "agent/mailer") as agent:
            for turn in range(POISONED):
                agent.say([user(f"Read attachment {number}. " + _page(number, 400))], **poisoned)
                if turn % 8 == 7:
                    agent.say([user(f"And case {number}.{turn}?")], max_tokens=1)
        return agent

    with ThreadPoolExecutor(WORKERS) as pool:
        told.add(pool.map(insist, range(WORKERS)))
    return told


SCRIPTS: Mapping[str, Callable[[World], Told]] = {
    "replan": replan,
    "ping_pong": ping_pong,
    "swarm": swarm,
    "growth": growth,
    "poison": poison,
    "outage": outage,
}
STOPPED_BY: Mapping[str, Sequence[str]] = {
    "replan": ("loop_detected", "session_suspended"),
    "ping_pong": ("loop_detected", "session_suspended"),
    "swarm": ("session_limit",),
    "growth": ("context_too_large",),
    "poison": ("retry_limited", "upstream_unavailable"),
    "outage": ("upstream_unavailable", "retry_limited"),
}
"""The refusals that are to stand on record, the first of them in any case."""


def _agent(world: World, identity: str) -> Agent:
    return Agent(world.gateway, mint(world.gateway, identity)["credential"])


def _child(parent: Agent, name: str) -> Agent:
    child = parent.child(name, registered=True)
    assert child is not None
    return child


def _page(seed: int, words: int) -> str:
    """A page of text that is like no other one."""
    dice = random.Random(seed)
    return " ".join("".join(dice.choices("abcdefghijklmnoprstuvw", k=dice.randint(2, 9))) for _ in range(words))
