"""An orchestrator with two sub-agents in the OpenAI Agents SDK, each on a credential of its own.

The orchestrator calls its sub-agents as tools. What each may spend is bounded by the gateway, whatever their prompts
make of them, and the books say who spent what. examples/README.md says how to run it.
"""

import asyncio
import sys

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, Tool, set_tracing_disabled

from comptroller.client import Refused, Session, open_session

LARGE, SMALL = "sandbox-large", "sandbox-small"  # with real keys: "gpt-4o", "gpt-4o-mini"

set_tracing_disabled(True)  # else the SDK sends its traces to OpenAI


def agent(session: Session, name: str, instructions: str, model: str, tools: list[Tool] | None = None) -> Agent:
    """An agent whose every call is made with the credential of its session."""
    chat = OpenAIChatCompletionsModel(model=model, openai_client=session.async_openai())
    return Agent(name=name, instructions=instructions, model=chat, tools=tools or [])


async def answer(question: str) -> None:
    async with (
        open_session() as root,
        root.child("researcher", bounds={"usd": "0.01", "model_calls": 10}, models=[SMALL]) as for_research,
        root.child("writer", bounds={"usd": "0.02", "model_calls": 5}, models=[SMALL]) as for_writing,
    ):
        researcher = agent(for_research, "Researcher", "Collect the facts.", SMALL)
        writer = agent(for_writing, "Writer", "Write the answer, in three sentences.", SMALL)
        tools: list[Tool] = [
            researcher.as_tool("research", "Ask for facts on a topic."),
            writer.as_tool("write", "Have the answer written from facts."),
        ]
        orchestrator = agent(root, "Orchestrator", "Have the question researched, then answered.", LARGE, tools)
        said = question
        for step in ("research", "write"):  # a real model chooses by itself; the sandbox calls what it is told to
            told = orchestrator.clone(model_settings=ModelSettings(tool_choice=step, max_tokens=500))
            said = (await Runner.run(told, said)).final_output
        print(said, "\n")
        for session in (for_research, for_writing, root):
            spent = session.show()["spent"]
            print(f"{session.name}: {spent['usd']} USD, {spent['model_calls']} calls")
        print(f"\nThe whole run: comptroller tree {root.id}")


def main() -> int:
    try:
        asyncio.run(answer(" ".join(sys.argv[1:]) or "Why do agents need budgets?"))
    except Exception as error:
        no = Refused.of(error)
        if no is None:
            raise
        print(f"{no.code}: {no} (left: {no.left or 'not said'}, resets: {no.resets_at or 'never'})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
