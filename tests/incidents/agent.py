"""An agent: one credential, one connection that stays open, and what became of each call it made."""

import http.client
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.end_to_end.caller import CHAT
from tests.harness.gateway import GatewayProcess

Message = dict[str, Any]
TRANSIENT = frozenset({429, 500, 502, 503, 504, 529})
MODEL = "sandbox-large"


class Heard(NamedTuple):
    """One answer."""

    status: int
    refusal: str | None
    body: dict[str, Any]

    @property
    def answered(self) -> bool:
        return self.status == 200


class Agent:
    """`with Agent(gateway, credential) as agent: agent.say(messages)`. Not for several threads at once."""

    def __init__(self, gateway: GatewayProcess, credential: str) -> None:
        self.gateway, self.credential = gateway, credential
        self.calls: set[str] = set()  # ids
        self.heard: Counter[str] = Counter()  # refusals by code, and everything else by status
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def say(self, messages: Sequence[Message], model: str = MODEL, **fields: Any) -> Heard:
        """One call to the model."""
        body = {"model": model, "messages": list(messages), "max_tokens": 200} | fields
        status, headers, answer = self._send(CHAT, body)
        self.calls.add(headers.get("x-comptroller-call-id", ""))
        refusal = headers.get("x-comptroller-refusal")
        self.heard[refusal or str(status)] += 1
        return Heard(status, refusal, answer)

    def persist(self, messages: Sequence[Message], tries: int = 3, **fields: Any) -> Heard:
        """The same as an SDK does it: again after what may be mended by that. It does not wait: time is accelerated."""
        heard = self.say(messages, **fields)
        for _ in range(tries - 1):
            if heard.status not in TRANSIENT:
                break
            heard = self.say(messages, **fields)
        return heard

    def child(self, name: str, *, registered: bool = False) -> "Agent | None":
        """An agent below this one, with a session of its own; None: it may not have any more.

        `registered`: the name is of an identity; else of an ephemeral child.
        """
        asked = {"identity" if registered else "name": name}
        status, _, answer = self._send("/comptroller/v1/sessions", asked)
        self.heard["opened" if status == 201 else f"opening {answer['code']}"] += 1
        return Agent(self.gateway, answer["credential"]) if status == 201 else None

    def done(self) -> None:
        """It closes its own session, as well-behaved agents do."""
        self._send("/comptroller/v1/sessions/self/close", {"outcome": "succeeded"})

    def _send(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, str], dict[str, Any]]:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.credential}"}
        self._connection.request("POST", path, json.dumps(body).encode(), headers)
        with self._connection.getresponse() as response:
            said = {name.lower(): value for name, value in response.getheaders()}
            content = response.read()
        return response.status, said, json.loads(content)


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def tool_call(number: int, name: str, arguments: Mapping[str, Any], plan: str | None = None) -> Message:
    """The model asks for a tool, perhaps after a few words."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": plan,
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": function}],
    }


def tool_result(number: int, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": text}
