"""For agents: sessions of a run, a client for each of its sub-agents, and what a refusal says.

    from comptroller.client import open_session

    with open_session() as session:
        with session.child("researcher", bounds={"usd": "0.05"}, models=["sandbox-small"]) as researcher:
            answer = researcher.openai().chat.completions.create(model="sandbox-small", messages=[...])

It needs nothing but Python: the packages `openai`, `anthropic` and `google-genai` are imported when their clients are
asked for. docs/client.md tells the rest.
"""

from comptroller.client.gateway import GatewayUnreachable
from comptroller.client.open import open_session
from comptroller.client.refused import Refused
from comptroller.client.session import Bounds, Outcome, Session, Work

__all__ = ["Bounds", "GatewayUnreachable", "Outcome", "Refused", "Session", "Work", "open_session"]
