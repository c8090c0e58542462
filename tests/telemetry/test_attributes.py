"""What telemetry calls a call, by the route that it came through."""

from comptroller.gateway.surfaces import CALLS
from comptroller.telemetry.attributes import operation

CHATS = {"openai_chat", "openai_responses", "anthropic_messages"}
WORDS = {"openai_speech": "speech", "anthropic_count_tokens": "count_tokens", "gemini_embeddings": "embeddings"}


def test_every_dialect_says_what_it_does_and_only_a_chat_is_one() -> None:
    said = {dialect.name: operation(dialect.name) for dialect in CALLS.values()}
    assert all(said.values())
    assert {name for name, word in said.items() if word == "chat"} == CHATS
    assert WORDS.items() <= said.items()
