"""The door of the data plane: what it says when something of ours breaks on a route that is free."""

from pathlib import Path
from typing import Any

import pytest

from comptroller.app import ROUTES
from comptroller.control import tokens
from comptroller.gateway.door import Door
from comptroller.gateway.routes import Api, Routes
from tests.control.asgi import ask
from tests.control.house import opened


def broken(_: Any) -> bytes:
    raise RuntimeError("a message with a secret in it")


FAULTY = Routes({}, [Api(api.family, api.paths, api.header, api.dialect, broken, broken) for api in ROUTES.apis])


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/sandbox-large", "/openai/v1/models", "/anthropic/v1/models"]
)
async def test_a_fault_in_a_list_of_models_is_said_as_any_other(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path) as house:
        minted = await tokens.mint(house.office, "agent/ant", 600, "admin")
        said = await ask(Door(house.gate, FAULTY, lambda: True), "GET", path, credential=minted.credential)
        (event, logged), *others = house.warnings
    assert said.status == 500
    assert said.body["error"]["comptroller"]["code"] == "internal_error"
    assert ("type" in said.body) is path.startswith("/anthropic"), "in the shape of whoever asks"
    assert "secret" not in str(said)
    assert (event, logged["exception.type"], others) == ("fault", "RuntimeError", [])
    assert logged["comptroller.call.id"] == said.headers["x-comptroller-call-id"]
    assert logged["code.file.path"].endswith("test_door.py")
    assert "secret" not in str(logged)


async def test_a_fault_in_being_ready_is_not_ready(tmp_path: Path) -> None:
    def unknown() -> bool:
        raise RuntimeError

    async with opened(tmp_path) as house:
        said = await ask(Door(house.gate, FAULTY, unknown), "GET", "/readyz", credential=None)
        assert [event for event, _ in house.warnings] == ["fault"]
    assert said.status == 500
