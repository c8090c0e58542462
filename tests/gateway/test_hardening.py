"""What the gateway knows is not in reach of others: neither by its environment nor by its memory."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comptroller.gateway import hardening
from comptroller.settings import KeySource, ServerSettings, Settings, variables_of
from comptroller.settings.schema import ChatSettings
from comptroller.settings.servers import Variables

pytestmark = pytest.mark.processes

# As root, all of this is tried by a user who is not: root may read everything.
USER: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.geteuid() == 0 else {}
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
KEEPER = "{hardening}\nprint({call}, flush=True)\nsys.stdin.read()"
READER = "import sys; print(b'the-key' in open(f'/proc/{sys.argv[1]}/environ', 'rb').read())"


@pytest.mark.skipif(sys.platform != "linux", reason="what another process may read of us is the system's")
@pytest.mark.parametrize(("call", "read"), [("True", True), ("refuse_dumps()", False)])
def test_nobody_reads_the_environment_of_the_gateway(call: str, read: bool) -> None:
    """The first is the same process without it: there it is read, so the second says something."""
    source = KEEPER.format(hardening=Path(hardening.__file__).read_text(encoding="utf-8"), call=call)
    with subprocess.Popen(
        [PYTHON, "-I", "-S", "-c", source],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"KEY": "the-key"}, cwd="/", text=True, **USER,
    ) as keeper:  # fmt: skip
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "True\n"
        reader = subprocess.run(
            [PYTHON, "-I", "-S", "-c", READER, str(keeper.pid)],
            capture_output=True, text=True, check=False, cwd="/", **USER,
        )  # fmt: skip
        keeper.communicate()
    assert (reader.stdout == "True\n") is read
    assert ("PermissionError" in reader.stderr) is not read


def test_what_settings_name_is_found_wherever_it_stands() -> None:
    settings = Settings(
        chat=ChatSettings(secret=KeySource("env", "CHAT")),
        servers={
            "a": ServerSettings(api_key=KeySource("env", "KEY_A")),
            "b": ServerSettings(variables=Variables(T=KeySource("env", "TOKEN_B"), U=KeySource("file", "/f"))),
        },
    )
    names = variables_of(settings)
    assert names == {"CHAT", "KEY_A", "TOKEN_B"}
    environ = {"KEY_A": "x", "PATH": "/bin"}
    hardening.drop_variables(environ, names)
    assert environ == {"PATH": "/bin"}
