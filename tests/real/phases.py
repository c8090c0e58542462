"""What the caller does, phase by phase. Every phase starts and ends with an idle model server."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.real.caller import Answer, Caller

PATIENCE_S = 0.4
MOST_TIGHT_CALLS = 40

Drive = Callable[[Caller], list[Answer]]


@dataclass(frozen=True)
class Phase:
    """One phase. `exact`: every call completes, so the books must equal the counters to the token."""

    name: str
    drive: Drive
    exact: bool = True


def chats(caller: Caller) -> list[Answer]:
    """JSON answers: one cut by the limit, one that ends by itself, one stopped by a word, the smallest prompt."""
    return [
        caller.chat("What is the capital of France?", 16),
        caller.chat("Reply with the word yes.", 40),
        caller.chat("What is the capital of Italy?", 16, stop=["the"]),
        caller.chat("a", 8),
    ]


def prompt_cache(caller: Caller) -> list[Answer]:
    """The same prompt again and again, JSON and streamed: read from the server's prompt cache from the second on."""
    prompt = "Name the planets of the solar system, starting at the sun."
    return [
        caller.chat(prompt, 12),
        caller.chat(prompt, 12),
        caller.stream(prompt, 12, usage=True),
        caller.chat(prompt, 4),
    ]


def streams(caller: Caller) -> list[Answer]:
    """Streams that ask for usage and streams that do not."""
    return [
        caller.stream("Count to ten.", 12, usage=True),
        caller.stream("Count to ten, slowly.", 12, usage=False),
        caller.stream("Tell me about the sea.", 30, usage=True),
        caller.stream("Tell me about the wind.", 30, usage=False),
    ]


def long_prompt(caller: Caller) -> list[Answer]:
    """A prompt of several hundred tokens, then the same one out of the cache."""
    prompt = "Summarise: " + " ".join(f"item {i} costs {7 * i} dollars;" for i in range(60))
    return [caller.chat(prompt, 8), caller.stream(prompt, 8, usage=False)]


def small_limits(caller: Caller) -> list[Answer]:
    """Output limits of one and two tokens, in both of the fields that carry one."""
    return [
        caller.chat("Name three colours.", 1),
        caller.chat("Name three colours.", 2),
        caller.stream("Name three metals.", 1, usage=True),
        caller.stream("Name three metals.", 2, usage=False),
        caller.chat("Name three trees.", 9, max_completion_tokens=3),
    ]


def at_once(caller: Caller) -> list[Answer]:
    """Six calls by three callers at once, on a model server that serves one at a time."""

    def one(i: int) -> Answer:
        prompt = f"Tell me {i + 2} facts about water."
        return caller.chat(prompt, 16) if i % 2 else caller.stream(prompt, 16, usage=i % 4 == 0)

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(one, range(6)))


def provider_says_no(caller: Caller) -> list[Answer]:
    """Two answers at once, which this model server refuses with 400: nothing is processed, nothing is owed."""
    return [caller.chat("Say hello.", 8, n=2)]


def hang_up(prompt: str, pieces: int, *, usage: bool) -> Drive:
    """A caller that leaves in mid-stream, after so many pieces of text."""
    return lambda caller: [caller.stream(prompt, 40, usage=usage, hang_up_after=pieces)]


def json_hang_up(caller: Caller) -> list[Answer]:
    """A caller that leaves before its JSON answer is there; the model server does not notice and works on."""
    return [caller.give_up("Write a tale about a mouse and an owl who travel to the sea.", 96, PATIENCE_S)]


def until_refused(caller: Caller) -> list[Answer]:
    """The same call again and again until one is refused; that one comes last."""
    answers: list[Answer] = []
    while len(answers) < MOST_TIGHT_CALLS and not (answers and answers[-1].status != 200):
        answers.append(caller.chat("Tell me about money.", 24))
    return answers


PHASES = [
    Phase("chats", chats),
    Phase("prompt cache", prompt_cache),
    Phase("streams", streams),
    Phase("long prompt", long_prompt),
    Phase("small limits", small_limits),
    Phase("at once", at_once),
    Phase("provider says no", provider_says_no),
    Phase("hang up: 1 piece", hang_up("Write a story about a fox.", 1, usage=True), exact=False),
    Phase("hang up: 6 pieces", hang_up("Write a story about a dog.", 6, usage=False), exact=False),
    Phase("hang up: 20 pieces", hang_up("Write a story about a cat.", 20, usage=True), exact=False),
    Phase("hang up: JSON", json_hang_up, exact=False),
]
TIGHT = Phase("tight budget", until_refused)
