"""The door of the data plane: what it says when something of ours breaks on a route that is free."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comptroller.app import ROUTES
from comptroller.control import tokens
from comptroller.control.caller_api import CallerApi
from comptroller.gateway.door import Door
from comptroller.gateway.routes import Api, Routes
from tests.control.house import House, opened
from tests.gateway.connection import calling, listening


def broken(_: Any) -> bytes:
    raise RuntimeError("a message with a secret in it")


FAULTY = Routes({}, [Api(api.family, api.paths, api.header, api.dialect, broken, broken) for api in ROUTES.apis])
LISTS = ("/v1/models", "/v1/models/sandbox-large", "/openai/v1/models", "/anthropic/v1/models")


async def get(house: House, path: str, ready: Callable[[], bool]) -> tuple[bytes, bytes]:
    """Head and body of what a door says whose lists of models are broken."""
    minted = await tokens.mint(house.office, "agent/ant", 600, "admin")
    async with listening(Door(house.gate, FAULTY, ready, CallerApi(house.office))) as port, calling(port) as caller:
        key = minted.credential.encode()
        await caller.say(
            b"GET %b HTTP/1.1\r\nhost: a\r\nx-api-key: %b\r\nconnection: close\r\n\r\n" % (path.encode(), key)
        )
        head, _, body = (await caller.everything()).partition(b"\r\n\r\n")
        return head, body


@pytest.mark.parametrize("path", LISTS)
async def test_a_fault_in_a_list_of_models_is_said_as_any_other(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path) as house:
        head, body = await get(house, path, lambda: True)
        (event, logged), *others = house.warnings
    assert head.startswith(b"HTTP/1.1 500 ")
    said = json.loads(body)
    anthropic = path.startswith("/anthropic")
    error = said["error"]["comptroller"] if anthropic else said["error"]
    assert error["code"] == "internal_error"
    assert ("type" in said) is anthropic, "in the shape of whoever asks"
    assert (event, logged["exception.type"], others) == ("fault", "RuntimeError", [])
    assert b"x-comptroller-call-id: " + logged["comptroller.call.id"].encode() in head
    assert logged["code.file.path"].endswith("test_door.py")
    assert "secret" not in str((head, body, logged)), "a message could hold a value"


async def test_a_fault_in_being_ready_is_logged(tmp_path: Path) -> None:
    def unknown() -> bool:
        raise RuntimeError

    async with opened(tmp_path) as house:
        head, _ = await get(house, "/readyz", unknown)
        assert [event for event, _ in house.warnings] == ["fault"]
    assert head.startswith(b"HTTP/1.1 500 ")
