"""The caller API takes whatever is sent: an answer of the standard's shape, and never a fault."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.control.caller_api import OAUTH, ROUTES, CallerApi
from comptroller.control.exchange import ACCEPTED
from comptroller.core.refusal import Refusal
from tests.control.house import House, opened


@dataclass
class Sent:
    """A request as the door hands it on."""

    headers: Sequence[tuple[bytes, bytes]]
    content: bytes | Refusal
    credentials: Sequence[str] = ()
    query: bytes = b""
    received_ns: int = 0
    address: str | None = None
    session_hint: str | None = None

    async def body(self) -> bytes | Refusal:
        return self.content

    def watch(self, on_gone: Callable[[], None]) -> None: ...

    def unwatch(self) -> None: ...


FORM = (b"content-type", b"application/x-www-form-urlencoded")
WORDS = st.sampled_from(
    [each for row in ACCEPTED for each in (row.grant, row.subject_token_type, row.actor_token_type) if each]
    + [
        "",
        "a.b.c",
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA",
        "cptr_a.b.c",
        "agent/ant",
        "{}",
        '{"bounds": {}}',
        "-1",
    ]
) | st.text(max_size=20)
NAMES = st.sampled_from(
    (
        *("grant_type", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "assertion"),
        *("audience", "client_id", "client_secret", "work", "session", "lifetime_s", "token", "scope"),
    )
)
FORMS = st.dictionaries(NAMES, WORDS).map(lambda fields: urlencode(fields).encode())
BODIES = FORMS | st.binary(max_size=50) | st.just(Refusal("body_timeout", "It did not arrive.", "Send it again."))
HEADERS = st.lists(
    st.just(FORM)
    | st.tuples(st.sampled_from([b"authorization", b"content-type", b"accept"]), st.binary(max_size=30))
    | st.just((b"authorization", b"Basic YTpi")),
    max_size=3,
)
PATHS = st.sampled_from([route.path for route in ROUTES]) | st.sampled_from(["/oauth/", "/oauth/x", "/.well-known/x"])


async def answers(house: House, method: str, path: str, request: Sent) -> None:
    said = await CallerApi(house.office)(method, path, request)
    assert said.status < 500, said
    body = json.loads(said.body)
    kinds = dict(said.headers)
    if said.status >= 400 and path.startswith(OAUTH):
        assert set(body) <= {"error", "error_description", "code", "hint"}
        assert all(" " <= each <= "~" and each not in '"\\' for each in body["error_description"])
    elif said.status >= 400:
        assert kinds[b"content-type"] == b"application/problem+json"
        assert body["status"] == said.status
    assert all(b"\r" not in value and b"\n" not in value for value in kinds.values())


async def test_whatever_is_sent_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        loop = asyncio.get_running_loop()

        @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(method=st.sampled_from(["GET", "POST", "PUT"]), path=PATHS, headers=HEADERS, body=BODIES)
        def each(method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes | Refusal) -> None:
            asyncio.run_coroutine_threadsafe(answers(house, method, path, Sent(headers, body)), loop).result()

        await asyncio.to_thread(each)
        assert [event for event, _ in house.warnings if event != "exchange_refused"] == []
