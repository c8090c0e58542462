"""Normal work of many kinds, none of which is an incident. Nothing of it should be refused."""

import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from tests.end_to_end.caller import Row, mint
from tests.incidents.agent import Agent, Message, assistant, tool_call, tool_result, user
from tests.incidents.scripts import Told
from tests.incidents.world import World

NOT_OURS = frozenset({"upstream_failed", "upstream_timeout"})
"""What a caller hears of its provider: no stop of ours."""
_PEOPLE = ("Where is my parcel?", "I want to send it back.", "Thank you!", "Hello", "Are you open?", "My code fails.")
_TEMPLATE = (
    "You sort tickets. Answer with one of: billing, delivery, fault, praise. Say nothing else. "
    "The ticket of customer {}, written on day {}, says: {}"
)
_NUMBERS = count()


def helpdesk(world: World, dice: random.Random) -> list[Agent]:
    """One session, many people: some say the same, and most talks are short."""
    with _agent(world, "service/helpdesk") as agent:
        for _ in range(40):
            talk = [user("You help customers."), user(dice.choice(_PEOPLE))]
            for turn in range(dice.randint(1, 4)):
                heard = agent.persist(talk)
                talk += [assistant(_said(heard.body)), user(f"{dice.choice(_PEOPLE)} {_words(dice, 6)} ({turn})")]
    return [agent]


def classifier(world: World, dice: random.Random) -> list[Agent]:
    """A template with another ticket in it, a hundred times."""
    with _agent(world, "service/classifier") as agent:
        for number in range(100):
            agent.persist([user(_TEMPLATE.format(number + 4_000, number % 28, _words(dice, 20)))], max_tokens=5)
    return [agent]


def coder(world: World, dice: random.Random) -> list[Agent]:
    """It edits, runs the test, reads that it fails, and edits again."""
    with _agent(world, "agent/coder") as agent:
        talk = [user(f"Mend the fault in module {dice.randint(1, 999)}.")]
        for number in range(12):
            numbers = (next(_NUMBERS), next(_NUMBERS))
            edit = {"file": "a.py", "change": _words(dice, 15)}
            talk += [tool_call(numbers[0], "edit", edit), tool_result(numbers[0], "done")]
            agent.persist(talk)
            fails = f"FAILED tests/test_a.py::test_rounding - AssertionError: {dice.randint(1, 9)} != 4"
            talk += [
                tool_call(numbers[1], "run_tests", {"path": "tests"}),
                tool_result(numbers[1], "3 passed" if number == 11 else fails),
            ]
            agent.persist(talk)
    return [agent]


def researcher(world: World, dice: random.Random) -> list[Agent]:
    """It looks for sources, now and then twice, and its tools fail now and then."""
    with _agent(world, "agent/researcher") as agent:
        talk = [user(f"What is known about {_words(dice, 3)}?")]
        for _ in range(12):
            number, what = next(_NUMBERS), {"query": _words(dice, 4)}
            fails = dice.random() < 0.2
            for _ in range(2 if fails else 1):
                result = "Error: timed out" if fails else _words(dice, 60)
                talk += [tool_call(number, "search", what), tool_result(number, result)]
                busy: Row = {"sandbox": {"fault": "rate_limited"}} if dice.random() < 0.05 else {}  # for a moment
                agent.persist(talk, **busy)
                fails = False
    return [agent]


def lead(world: World, dice: random.Random) -> list[Agent]:
    """A run with a few sub-agents, each of which ends."""
    with _agent(world, "agent/lead") as agent:
        agent.persist([user(f"Split this: {_words(dice, 30)}")])
        children: list[Agent] = []
        for number in range(4):
            child = agent.child(f"part-{number}")
            assert child is not None, agent.heard
            with child:
                for _ in range(3):
                    child.persist([user(f"Part {number}: {_words(dice, 40)}")])
                child.done()
            children.append(child)
        agent.persist([user(f"Put this together: {_words(dice, 60)}")])
        agent.done()
    return [agent, *children]


def watcher(world: World, dice: random.Random) -> list[Agent]:
    """It asks a job how far it has come until that is done."""
    with _agent(world, "agent/watcher") as agent:
        talk, done = [user("Tell me when the export is ready.")], 0
        while done < 100:
            done, number = min(100, done + dice.randint(3, 12)), next(_NUMBERS)
            state = f'{{"job": "export", "percent": {done}}}'
            talk += [tool_call(number, "job_state", {"job": "export"}), tool_result(number, state)]
            agent.persist(talk)
    return [agent]


def reader(world: World, dice: random.Random) -> list[Agent]:
    """Questions about one long document, and several samples of each answer at the same time."""
    with _agent(world, "agent/reader") as agent:
        document = user(f"Here is the contract. {_words(dice, 3_000)}")
        for _ in range(5):
            agent.persist([document, user(f"What does it say about {_words(dice, 3)}?")])

    def sample(_: int) -> Agent:
        with Agent(world.gateway, agent.credential) as one:
            one.persist([document, user("Is it fair? Answer yes or no.")], max_tokens=3)
        return one

    with ThreadPoolExecutor(3) as pool:
        return [agent, *pool.map(sample, range(3))]


KINDS: Mapping[Callable[[World, random.Random], list[Agent]], int] = {
    helpdesk: 3, classifier: 5, coder: 8, researcher: 8, lead: 8, watcher: 8, reader: 8,
}  # fmt: skip
"""What is done, and how often."""


def work(world: World, seed: int) -> Told:
    """All of it, three things at a time, in an order by chance."""
    told, dice = Told(), random.Random(seed)
    todo = [kind for kind, times in KINDS.items() for _ in range(times)]
    dice.shuffle(todo)
    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(kind, world, random.Random(f"{seed} {number}")) for number, kind in enumerate(todo)]:
            told.add(each.result())
    return told


def _agent(world: World, identity: str) -> Agent:
    return Agent(world.gateway, mint(world.gateway, identity)["credential"])


def _said(answer: Message) -> str:
    return answer["choices"][0]["message"]["content"] if "choices" in answer else "I do not know."


def _words(dice: random.Random, number: int) -> str:
    return " ".join("".join(dice.choices("abcdefghijklmnoprstuvw", k=dice.randint(2, 9))) for _ in range(number))
