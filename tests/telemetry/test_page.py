"""The page of metrics: who may see it, and in which format."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptroller.control.door import Door, Outside
from comptroller.telemetry.page import Page, ScrapeDoor
from tests.control.asgi import ADMIN, Admin
from tests.control.house import House, opened
from tests.harness.scrape import ACCEPT
from tests.telemetry.test_readings import sources


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests here: whoever looks changes nothing."""
    async with opened(tmp_path_factory.mktemp("house")) as house:
        yield house


HERE, ELSEWHERE = ("127.0.0.1", 40_000), ("192.0.2.7", 40_000)


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (HERE, {"authorization": f"Bearer {ADMIN}"}, 200),
        (HERE, {"authorization": "Bearer scrape-me"}, 200),
        (HERE, {"authorization": "Bearer scrape"}, 401),
        (HERE, {"authorization": "scrape-me"}, 401),
        (HERE, {}, 401),
        (ELSEWHERE, {"authorization": "Bearer scrape-me", "host": "gateway.example:8789"}, 200),
        (ELSEWHERE, {"authorization": "bearer  scrape-me", "x-forwarded-for": "192.0.2.8"}, 200),
        (ELSEWHERE, {"authorization": f"Bearer {ADMIN}"}, 403),
        (ELSEWHERE, {"authorization": "Bearer guess"}, 403),
        (ELSEWHERE, {}, 403),
    ],
)
async def test_the_token_works_from_anywhere_and_the_admin_credential_only_here(
    house: House, client: tuple[str, int], headers: dict[str, str], status: int
) -> None:
    page = Page(sources(house))
    door = ScrapeDoor(page, Door(house.office, Outside(Admin()), page), b"scrape-me")
    assert (await ask(door, client, headers))[0] == status
    if headers.get("authorization") == "Bearer scrape-me":
        closed = ScrapeDoor(page, Door(house.office, Outside(Admin()), page), None)
        assert (await ask(closed, client, headers))[0] in {401, 403}


@pytest.mark.parametrize(
    ("accept", "spoken"),
    [
        (ACCEPT, "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0"),
        ("text/plain", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=2.0.0", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=abc", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; q=0", "text/plain; version=0.0.4"),
        ("text/plain; version=; escaping=", "text/plain; version=0.0.4"),
        (";;;,,,=", "text/plain; version=0.0.4"),
        ("", "text/plain; version=0.0.4"),
    ],
)
async def test_the_format_is_the_one_that_was_asked_for(house: House, accept: str, spoken: str) -> None:
    status, kind, text = await ask(Page(sources(house)), HERE, {"accept": accept})
    assert (status, kind.startswith(spoken)) == (200, True), kind
    assert text.endswith("# EOF\n") == spoken.startswith("application/openmetrics")


async def ask(app: Any, client: tuple[str, int], headers: dict[str, str]) -> tuple[int, str, str]:
    given = {"host": "127.0.0.1:8789"} | headers
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/metrics",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": client,
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    kind = next(value.decode() for name, value in sent[0]["headers"] if name == b"content-type")
    return sent[0]["status"], kind, b"".join(each.get("body", b"") for each in sent[1:]).decode()
