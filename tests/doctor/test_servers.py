"""What the doctor says of MCP servers: who cannot be run, and who could read what is not theirs. None is run."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from comptroller.doctor.check import Check
from comptroller.doctor.servers import check_servers
from comptroller.settings import KeySource, ServerSettings, Settings
from comptroller.settings.servers import Command, ServerUrl, Variables

OTHER = "daemon" if os.geteuid() != 0 else "nobody"


async def checks(tmp_path: Path, environ: dict[str, str] | None = None, **servers: ServerSettings) -> dict[str, Check]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    settings = Settings(state=state, servers=servers)
    return {check.name: check for check in await check_servers(settings, environ or {}, None)}


def local(path: str = "/bin/cat", **changes: object) -> ServerSettings:
    return ServerSettings(**{"command": Command((path,)), "run_as": OTHER, **changes})  # type: ignore[arg-type]


async def test_without_servers_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert await checks(tmp_path) == {}


async def test_what_a_server_lacks_is_said(tmp_path: Path) -> None:
    far = ServerSettings(url=ServerUrl("http", "127.0.0.1", 9, "/mcp"), api_key=KeySource("env", "FAR_KEY"))
    found = await checks(tmp_path, far=far)
    assert (found["servers.far.setup"].state, "FAR_KEY" in found["servers.far.setup"].sentence) == ("warn", True)
    assert found["servers.far.address"].state == "warn", "no call goes there"
    assert found["servers.far.address"].hint.startswith("Check url")
    found = await checks(tmp_path, {"FAR_KEY": "k"}, far=far)
    assert found["servers.far.setup"].state == "ok"
    assert found["servers.far.address"].state == "fail"


@pytest.mark.parametrize(
    ("mode", "state", "said"),
    [
        (0o755, "ok", "is there"),
        (0o644, "fail", "is no program"),
        (0o757, "warn", "can be changed by everyone"),
        (None, "fail", "cannot be run"),
    ],
)
async def test_a_program_is_one_that_nobody_else_can_change(
    passable: Path, mode: int | None, state: str, said: str
) -> None:
    path = passable / "server"
    if mode is not None:
        path.write_text("#!/bin/sh\n")
        path.chmod(mode)
    found = (await checks(passable, near=local(str(path))))["servers.near.program"]
    assert (found.state, said in found.sentence) == (state, True)


async def test_a_program_is_one_that_its_user_may_run(passable: Path) -> None:
    """By its own mode, and by those of the folders that it lies in, behind links too."""
    closed = passable / "home"
    closed.mkdir(mode=0o700)
    path, link = closed / "python", passable / "python"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    link.symlink_to(path)
    found = (await checks(passable, near=local(str(link))))["servers.near.program"]
    assert (found.state, f"{OTHER} may not run {link}" in found.sentence) == ("fail", True)
    same = local(str(link), run_as=None, allow_same_user=True)
    assert (await checks(passable, near=same))["servers.near.program"].state == "ok"
    closed.chmod(0o711)
    assert (await checks(passable, near=local(str(link))))["servers.near.program"].state == "ok"
    path.chmod(0o700)
    assert (await checks(passable, near=local(str(link))))["servers.near.program"].state == "fail"


@pytest.fixture
def passable() -> Iterator[Path]:
    """A folder that everyone may go into, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_a_user_who_could_read_a_key_is_found(passable: Path) -> None:
    """By the modes of the key and of all that it lies in."""
    tmp_path, key = passable, passable / "key"
    key.write_text("k" * 20)
    key.chmod(0o644)
    server = local(variables=Variables(TOKEN=KeySource("file", str(key))))
    found = (await checks(tmp_path, near=server))["servers.near.user"]
    assert (found.state, str(key) in found.sentence) == ("fail", True)
    key.chmod(0o600)
    found = (await checks(tmp_path, near=server))["servers.near.user"]
    assert (found.state, OTHER in found.sentence) == ("ok", True)
    (tmp_path / "state").chmod(0o755)
    found = (await checks(tmp_path, near=server))["servers.near.user"]
    assert (found.state, "state" in found.sentence) == ("fail", True)


async def test_whom_a_server_runs_as(tmp_path: Path) -> None:
    same = local(run_as=None, allow_same_user=True)
    found = await checks(tmp_path, near=local(run_as="no-such-user"), same=same)
    assert found["servers.near.user"].state == "fail"
    assert "useradd" in found["servers.near.user"].hint
    assert found["servers.same.user"].state == "warn"


async def test_servers_of_one_user_know_each_other_s_secrets(tmp_path: Path) -> None:
    one = local(variables=Variables(TOKEN=KeySource("env", "T")))
    found = await checks(tmp_path, one=one, two=local())
    assert found[f"servers.users.{OTHER}"].state == "warn"
    assert f"servers.users.{OTHER}" not in await checks(tmp_path, one=local(), two=local())
