"""[servers.NAME]: what may be said of an MCP server, and the providers and programs that are made of it."""

import os
import pwd
from pathlib import Path

import pytest

from comptroller.flow.upstream import Origin, Timeouts
from comptroller.gateway.servers import Servers, build_servers
from comptroller.settings import KeySource, ServerSettings, Settings, SettingsError, load_settings

REMOTE = 'url = "https://mcp.example/mcp?project=7"'
LOCAL = 'command = ["/usr/bin/node", "/opt/server.js", "/srv/data"]\nallow_same_user = true'


def load(folder: Path, *lines: str, name: str = "files") -> Settings:
    file = folder / "comptroller.toml"
    file.write_text("\n".join((f"[servers.{name}]", *lines)), encoding="utf-8")
    return load_settings(file)


def built(folder: Path, *lines: str, environ: dict[str, str] | None = None) -> Servers:
    return build_servers(load(folder, *lines).servers, environ or {})


def test_a_remote_server_is_a_provider_of_the_family_mcp(tmp_path: Path) -> None:
    found = built(
        tmp_path,
        REMOTE,
        'api_key = "env:KEY"\nenvironments = ["testing"]\nconnect_timeout_s = 1\ntimeout_s = 2\ntotal_timeout_s = 3',
        environ={"KEY": "k" * 20},
    )
    assert (found.warnings, found.programs) == ((), {})
    one = found.by_name["mcp/files"]
    assert (one.name, one.dialects, one.is_server) == ("mcp/files", ("mcp",), True)
    assert one.origin == Origin("https", "mcp.example", 443, "/mcp?project=7", allow_private=False)
    assert one.credentials == {"mcp": (b"authorization", b"Bearer " + b"k" * 20)}
    assert one.environments == ("testing",)
    assert one.timeouts == Timeouts(1, 2, 2, 3)
    assert one.missing is None
    assert "k" * 20 not in repr(found)


def test_a_local_server_is_a_program_and_knows_only_its_variables(tmp_path: Path) -> None:
    environ = {"FILES_TOKEN": "t" * 20, "OPENAI_API_KEY": "secret"}
    found = built(tmp_path, LOCAL, 'variables = { TOKEN = "env:FILES_TOKEN" }', environ=environ)
    one, program = found.by_name["mcp/files"], found.programs["files"]
    assert one.origin == Origin("stdio", "files", 0)
    assert one.credentials == {}
    assert program.command == ("/usr/bin/node", "/opt/server.js", "/srv/data")
    assert program.user is None
    assert set(program.environ) == {"PATH", "LANG", "TOKEN"}
    assert program.environ["TOKEN"] == "t" * 20
    (warning,) = found.warnings
    assert "allow_same_user" in warning
    assert "t" * 20 not in repr(found)
    assert b"t" * 20 not in one.mask.plain(b"the token is " + b"t" * 20), "it may say what it was told"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "files: A command or a url is missing."),
        (f"{REMOTE}\n{LOCAL}", "files: A server has either a command or a url."),
        ('command = ["/usr/bin/x"]', "files.run_as: This is missing"),
        ('command = ["x"]\nrun_as = "nobody"', "files.command: The program must be named by its absolute path"),
        ('command = []\nrun_as = "nobody"', "files.command: This must be a list of texts."),
        ('command = "/usr/bin/x -v"\nrun_as = "nobody"', "files.command: This must be a list of texts."),
        ('command = ["/usr/bin/x", "a\\u0000b"]\nrun_as = "nobody"', "files.command: This is not a command."),
        (f'{LOCAL}\napi_key = "env:K"', "files.api_key: A server that the gateway runs takes no key"),
        (f'{LOCAL}\ntoken = "identity"', "files.token: A server that the gateway runs takes no key"),
        (f"{LOCAL}\nprivate_network = true", "files.private_network: A server that the gateway runs is in no network."),
        (f'{LOCAL}\nvariables = {{ PATH = "env:K" }}', "files.variables: PATH is not to be set."),
        (f'{LOCAL}\nvariables = {{ LD_PRELOAD = "env:K" }}', "files.variables: LD_PRELOAD is not to be set."),
        (f'{LOCAL}\nvariables = {{ "A B" = "env:K" }}', "files.variables: A variable's name has letters"),
        (f'{LOCAL}\nvariables = {{ K = "hunter2" }}', "files.variables: K: This says neither which variable nor"),
        (f"{LOCAL}\nprocesses = 0", "files.processes: "),
        (f"{LOCAL}\nshell = true", "files.shell: There is no such setting."),
        ('url = "http://mcp.example/mcp"', "files.url: Plain http leaves only for this machine"),
        ('url = "https://user:hunter2@mcp.example/"', "files.url: An address to send to has no user"),
        (f'{REMOTE}\nrun_as = "nobody"', "files.run_as: This is for a server that the gateway runs itself."),
        (f'{REMOTE}\nvariables = {{ K = "env:K" }}', "files.variables: This is for a server that the gateway runs"),
        (f'{REMOTE}\napi_key = "env:K"\ntoken = "identity"', "files.token: A request carries one credential"),
        (f'{REMOTE}\ntoken = "caller"', "files.token: "),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, lines)
    (line,) = [problem.line for problem in caught.value.problems]
    assert line.startswith(f"servers.{said}")
    assert "hunter2" not in line


@pytest.mark.parametrize("name", ['"a/b"', '"@files"', '""', '"a b"', f'"{"x" * 65}"'])
def test_a_name_of_a_server_is_a_part_of_addresses_and_of_tools_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, REMOTE, name=name)
    assert "This is not a name for a server." in str(caught.value)


def test_no_provider_can_take_a_server_s_name(tmp_path: Path) -> None:
    file = tmp_path / "comptroller.toml"
    file.write_text('[providers."mcp/files"]\ndialects = ["openai"]\nbase_url = "https://h.example"', encoding="utf-8")
    with pytest.raises(SettingsError, match="This is not a name for a provider"):
        load_settings(file)


OURSELVES = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == os.getuid()]


@pytest.mark.parametrize(
    ("lines", "environ", "missing"),
    [
        (f'{REMOTE}\napi_key = "env:KEY"', {}, "environment variable KEY is not set"),
        (f'{REMOTE}\napi_key = "env:KEY"', {"KEY": "cptr_x"}, "holds a credential of Comptroller's own"),
        (f'{LOCAL}\nvariables = {{ T = "env:KEY" }}', {}, "environment variable KEY is not set"),
        (f'{LOCAL}\nvariables = {{ T = "env:KEY" }}', {"KEY": "cptradm_x"}, "holds a credential of Comptroller's own"),
        ('command = ["/bin/x"]\nrun_as = "no-such-user-here"', {}, "there is no user 'no-such-user-here'"),
        *((f'command = ["/bin/x"]\nrun_as = "{name}"', {}, "the gateway's own user") for name in OURSELVES),
    ],
)
def test_a_server_that_lacks_something_is_there_and_says_what(
    tmp_path: Path, lines: str, environ: dict[str, str], missing: str
) -> None:
    found = built(tmp_path, lines, environ=environ)
    one = found.by_name["mcp/files"]
    assert one.missing is not None
    assert missing in one.missing
    assert found.programs == {}
    assert found.warnings[-1] == f"Calls to the server files will be refused: {one.missing}."


def test_a_variable_may_be_a_whole_document(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text('{\n  "key": "a b"\n}\n', encoding="utf-8")
    (tmp_path / "account.json").chmod(0o600)
    settings = ServerSettings(command=None, url=None)
    assert settings.variables == {}
    found = built(tmp_path, LOCAL, 'variables = { ACCOUNT = "file:account.json" }')
    assert found.programs["files"].environ["ACCOUNT"] == '{\n  "key": "a b"\n}'
    assert (
        KeySource("file", str(tmp_path / "account.json"))
        in load(tmp_path, LOCAL, 'variables = { ACCOUNT = "file:account.json" }').servers["files"].variables.values()
    )
