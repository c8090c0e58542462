"""An orchestrator with two sub-agents at work at the same time, in Pydantic AI, each on a credential of its own.

Here the program decides who does what, and the models are called through Anthropic's API. A sub-agent's session begins
and ends with its piece of work, so the books say how each came out. examples/README.md says how to run it.
"""

import asyncio
import sys

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from comptroller.client import Refused, Session, open_session

LARGE, SMALL = "sandbox-large", "sandbox-small"  # with a real key: "claude-sonnet-5", "claude-haiku-4-5"


def model(session: Session, name: str) -> AnthropicModel:
    """A model that is called with the credential of a session."""
    return AnthropicModel(name, provider=AnthropicProvider(anthropic_client=session.async_anthropic()))


async def research(root: Session, name: str, question: str) -> str:
    """One sub-agent, in a session of its own that is closed with how it came out."""
    async with root.child(
        name, bounds={"usd": "0.01", "model_calls": 3}, models=[SMALL], task_type="side", task=name
    ) as own:
        agent = Agent(model(own, SMALL), instructions=f"You collect arguments {name}. Be brief.")
        said = (await agent.run(question, model_settings={"max_tokens": 300})).output
        spent = own.show()["spent"]
        print(f"{own.name}: {spent['usd']} USD, {spent['model_calls']} calls")
        return said


async def answer(question: str) -> None:
    async with open_session() as root:
        sides = await asyncio.gather(*(research(root, name, question) for name in ("for", "against")))
        judge = Agent(model(root, LARGE), instructions="Weigh both sides and answer in one sentence.")
        said = (await judge.run([question, *sides], model_settings={"max_tokens": 300})).output
        spent = root.show()["spent"]
        print(f"{root.name}: {spent['usd']} USD, {spent['model_calls']} calls, both sides included\n\n{said}\n")
        print(f"The whole run: comptroller tree {root.id}")


def main() -> int:
    try:
        asyncio.run(answer(" ".join(sys.argv[1:]) or "Should an agent have a budget?"))
    except Exception as error:
        no = Refused.of(error)
        if no is None:
            raise
        print(f"{no.code}: {no} (left: {no.left or 'not said'}, resets: {no.resets_at or 'never'})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
