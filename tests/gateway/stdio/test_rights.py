"""What a server may do on this machine: as another user where we can give it one, and without what is ours in any case.

As root another user is tried for real. As anybody else, the system itself keeps us from becoming one: then it is shown
that such a server is refused, and that one which runs as ourselves has lost what it can lose.
"""

import os
import pwd
import shutil
from pathlib import Path

import pytest

from comptroller.gateway.stdio import program as programs
from comptroller.gateway.stdio.program import Unusable, User, find_user
from tests.gateway.stdio.world import client_of, program

pytestmark = pytest.mark.processes

ROOT = os.geteuid() == 0
OURSELVES = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.getuid()]  # one or none
# The system's own: ours may stand in a folder that only we can read.
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or ""


@pytest.fixture
def other() -> User | None:
    """Another user to be, if we may be one."""
    return find_user("nobody", allow_same_user=False) if ROOT else None


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    """What must not be read: a state folder as the gateway makes it, and the environment of this process."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "admin-token").write_text("cptradm_x")
    (state / "admin-token").chmod(0o600)
    return {"state": state, "token": state / "admin-token", "environ": Path(f"/proc/{os.getpid()}/environ")}


def no_rights(status: str) -> dict[str, str]:
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {name: fields[name].strip() for name in ("NoNewPrivs", "CapEff", "CapAmb", "Groups", "Uid")}


async def test_a_server_runs_as_another_user_and_reads_nothing_of_ours(
    other: User | None, secrets: dict[str, Path]
) -> None:
    if other is None:
        with pytest.raises(Unusable, match="CAP_SETUID"):
            find_user("nobody", allow_same_user=False)
        return
    async with client_of(program(user=other, python=PYTHON)) as client:
        found = await client.tool("whoami")
        assert (found["uid"], found["gid"]) == (other.uid, other.gid)
        assert set(found["groups"]) <= set(other.groups), "none of ours"
        rights = no_rights(found["status"])
        assert rights["Uid"].split() == [str(other.uid)] * 4
        assert (int(rights["CapEff"], 16), int(rights["CapAmb"], 16)) == (0, 0)
        paths = [str(path) for path in secrets.values()]
        assert await client.tool("look", {"paths": paths}) == ["PermissionError"] * 3
        assert await client.tool("trace", {"pid": os.getpid()}) == "refused"


async def test_a_server_has_a_place_and_limits_of_its_own(other: User | None) -> None:
    async with client_of(program(user=other, python=PYTHON)) as client:
        found = await client.tool("whoami")
        assert found["session"] == found["pid"], "a process group of its own"
        assert found["listing"] == []
        assert found["mode"] == 0o700
        assert no_rights(found["status"])["NoNewPrivs"] == "1"
        assert set(found["fds"]) <= {0, 1, 2, 3}, "3 is the listing's own"
        limits = {line[:26].strip(): line[26:].split()[1] for line in found["limits"].splitlines()[1:]}
        assert limits["Max core file size"] == "0"
        assert int(limits["Max open files"]) <= 1024
        assert int(limits["Max processes"]) <= 1024
        assert found["oom_score_adj"] == 1000, "it goes before the gateway"


async def test_a_server_has_so_much_memory_and_no_more() -> None:
    async with client_of(program(memory_bytes=256 << 20)) as client:
        assert await client.tool("swell", {"bytes": 32 << 20}) == 32 << 20
        assert await client.tool("swell", {"bytes": 512 << 20}) == "no more memory"


async def test_a_server_s_environment_is_what_it_was_given(other: User | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-servers")
    given = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TOKEN": "its own"}
    async with client_of(program(user=other, python=PYTHON, environ=given)) as client:
        found = await client.tool("whoami")
        ours = {"LC_CTYPE"}  # Python itself sets it where the locale is C
        assert {name: value for name, value in found["environ"].items() if name not in ours} == {
            **given,
            "HOME": found["folder"],
        }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such-user", "there is no user"),
        *((name, "the gateway's own user") for name in OURSELVES),
        *([] if ROOT else [("root", "root")]),
    ],
)
def test_whom_a_server_cannot_be(name: str, said: str) -> None:
    with pytest.raises(Unusable, match=said):
        find_user(name, allow_same_user=False)


def test_a_server_may_be_ourselves_where_that_is_said() -> None:
    assert find_user(None, allow_same_user=True) is None
    assert [find_user(name, allow_same_user=True) for name in OURSELVES] == [None] * len(OURSELVES)


def test_rights_that_are_lacking_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_NEEDED", {"CAP_THAT_IS_NOT_THERE": 63})
    with pytest.raises(Unusable, match="CAP_THAT_IS_NOT_THERE"):
        find_user("nobody", allow_same_user=False)
