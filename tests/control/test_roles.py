"""Roles: every route has the least role that may ask it, and each role gets exactly that far."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptroller.control import admins, api
from comptroller.control.door import Outside
from comptroller.core.identity.admin import INCLUDES, Role
from tests.control.asgi import Admin, ask
from tests.control.house import House, opened

ROLES: tuple[Role, ...] = ("viewer", "operator", "approver", "admin")
OPEN = {"POST /login", "POST /chat-answers"}  # whoever comes to say who it is
LEAST: dict[str, set[str]] = {
    "operator": {
        "POST /notify/retry",
        "POST /notify/{receiver}/test",
        "POST /calls/{call}/corrections",
        "POST /sessions",
        "POST /sessions/open",
        "POST /sessions/{session}/close",
        "POST /sessions/{session}/narrow",
        "POST /sessions/{session}/renew",
        "POST /sessions/{session}/end",
        "POST /secrets",
        "POST /secrets/{secret}/revoke",
        "POST /stops",
        "POST /stops/resume",
        "POST /bounds/resume",
        "POST /break-glass",
        "POST /break-glass/{grant}/end",
    },
    "approver": {
        "POST /approvals/{ticket}/approve",
        "POST /approvals/{ticket}/deny",
        "POST /grants",
        "POST /grants/{grant_id}/revoke",
        "POST /break-glass/{grant}/confirm",
        "POST /tools/accept",
        "POST /tools/reject",
        "POST /identity-requests/{request}/approve",
        "POST /identity-requests/{request}/deny",
    },
    "admin": {
        "POST /admins",
        "POST /admins/{admin}/rotate",
        "POST /admins/{admin}/disable",
        "POST /keys/rotate",
        "POST /registry/apply",
    },
}
CHANGES_NOTHING = {"POST /registry/plan", "POST /policies/explanation", "POST /simulation"}
ALSO = {
    "POST /break-glass/{grant}/end": "approver",  # it is always safe
    "POST /grants/{grant_id}/revoke": "operator",  # the same
    "POST /tools/accept": "operator",  # whoever set the server up
    "POST /tools/reject": "operator",
}


@pytest.fixture(scope="module")
async def roles(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[House, dict[str, str]]]:
    """A house with one admin of each role, and their credentials."""
    async with opened(tmp_path_factory.mktemp("house")) as house:
        made = {role: await admins.add(house.office, f"{role}-1", role, None, None, None, "test") for role in ROLES}
        yield house, {role: each.credential or "" for role, each in made.items()}


def test_every_route_has_its_least_role() -> None:
    """Reading is for everybody; what acts is named here once more, so that a new route is thought about."""
    for route in api.ROUTES:
        name = f"{route.method} {route.path}"
        if name in OPEN:
            assert route.role is None
        elif route.method == "GET" or name in CHANGES_NOTHING:
            assert route.role == "viewer", name
        else:
            assert route.role is not None
            assert name in LEAST[route.role], f"{name}: say here who may"
        assert route.also == ALSO.get(name)


def test_each_role_includes_itself_and_looking() -> None:
    assert all({role, "viewer"} <= INCLUDES[role] for role in ROLES)
    assert INCLUDES["admin"] == set(ROLES)
    assert "approver" not in INCLUDES["operator"]
    assert "operator" not in INCLUDES["approver"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", api.ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_role_on_each_route(roles: tuple[House, dict[str, str]], route: Any, role: Role) -> None:
    house, credentials = roles
    app = api.build(house.office, Outside(Admin()))
    before = await house.store.changes(1_000)
    # A body that no route takes: whoever may ask is told so, and nothing happens.
    body = b"[" if route.method == "POST" else b""
    said = await ask(app, route.method, f"/api/v1{route.path}", body, credential=credentials[role])
    if route.role is None or not INCLUDES[role].isdisjoint(route.roles):
        assert said.status != 403, said.body
    else:
        assert (said.status, said.code) == (403, "role_forbidden")
        assert route.role in said.body["detail"]
    assert await house.store.changes(1_000) == before
