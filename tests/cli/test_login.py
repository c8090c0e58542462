"""`comptroller login`: a person at the organization's own issuer, which is Authlib's server in a process of its own."""

import base64
import http.client
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from comptroller.cli.browser_login import log_in_by_browser
from comptroller.cli.device_login import Clock, log_in_on_device
from comptroller.cli.failure import CommandError
from comptroller.cli.issuer import Client, LoginIssuer, Provider, Tokens, discover, find_issuer
from comptroller.cli.logins import Logins, current
from comptroller.cli.target import find_data_plane
from tests.cli.world import Done, Typed, chat
from tests.harness.configuration import identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, PATIENCE_S, LoginProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

CLIENT_ID = "comptroller-cli"
BROWSER = f'{sys.executable} -c "import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()" %s'
FORGETFUL = {
    "person": "ada",
    "slow": 0,
    "other_issuer": "",
    "other_nonce": "",
    "other_subject": "",
    "hidden": [],
    "interval": 1,
    "device_life_s": 600,
}


@pytest.fixture(scope="module")
def provider() -> Iterator[LoginProcess]:
    with LoginProcess() as running:
        yield running


@pytest.fixture
def people(provider: LoginProcess) -> LoginProcess:
    """As it begins."""
    provider.tell(**FORGETFUL)
    provider.end_logins()
    provider.grants_asked()
    return provider


@pytest.fixture(scope="module")
def staffed(
    provider: LoginProcess, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    members = {
        "human/ada": identity("red", "human", federated=[{"issuer": "people", "subject": "ada"}]),
        "human/eve": identity("red", "human", federated=[{"issuer": "people", "email": "eve@acme.example"}]),
    }
    login = {"kind": "oidc", "url": provider.url, "audience": AUDIENCE, "client_id": CLIENT_ID}
    issuers = {"people": login | {"login_scopes": ["email"]}}
    folder = tmp_path_factory.mktemp("staffed")
    with GatewayProcess(folder, process(sandbox.url), registry((), members, issuers=issuers)) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def away(staffed: GatewayProcess, tmp_path: Path) -> dict[str, Any]:
    """Where a person is: no comptroller.toml, a home of its own, and the gateway's address."""
    return {"folder": tmp_path, "COMPTROLLER_ADDR": staffed.url, "XDG_STATE_HOME": str(tmp_path), "BROWSER": BROWSER}


def logins_of(away: dict[str, Any]) -> Logins:
    return Logins(find_data_plane(None, None, away), away)


class Shown:
    """The command as another process, read while it waits."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.running = running
        self.said: list[str] = []

    def line_with(self, words: str) -> str:
        assert self.running.stderr is not None
        for line in self.running.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"it never said {words!r}: {''.join(self.said)}")

    def done(self) -> Done:
        out, err = self.running.communicate(timeout=PATIENCE_S)
        return Done(self.running.returncode, out, "".join(self.said) + err)


@contextmanager
def shown(away: dict[str, Any], *arguments: str) -> Iterator[Shown]:
    env = {**os.environ, **{name: value for name, value in away.items() if name != "folder"}}
    command = [sys.executable, "-m", "comptroller", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, cwd=away["folder"], env=env, **pipes) as running:
        try:
            yield Shown(running)
        finally:
            running.kill()


def code_of(command: Shown) -> str:
    command.line_with("type the code")
    return command.line_with("-").strip()


def logged_in(typed: Typed, away: dict[str, Any], *more: str) -> Any:
    done = typed("login", "--browser", "--json", *more, **away)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Logging in.


def test_a_code_typed_on_another_device_makes_a_credential_that_calls_until_logout(
    staffed: GatewayProcess, people: LoginProcess, typed: Typed, away: dict[str, Any], tmp_path: Path
) -> None:
    with shown(away, "login") as command:
        code = code_of(command)
        people.type(code)
        done = command.done()
    assert done.returncode == 0, done.stderr
    assert "You are human/ada" in done.stdout
    assert f"{people.url}/device" in done.stderr
    credential = typed("token", **away).stdout.strip()
    assert credential not in done.stdout + done.stderr
    assert chat(staffed, credential)[0] == 200
    (session,) = [row for row in staffed.admin("GET", "/sessions?limit=100") if row["identity"] == "human/ada"]
    assert session["minted_by"] == "people:ada"
    kept = [each for each in (tmp_path / "comptroller" / "logins").iterdir() if each.suffix == ".json"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in kept] == [0o600]
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700

    assert typed("token", **away).stdout.strip() == credential, "it was not kept"
    people.grants_asked()
    said = json.loads(typed("token", "--fresh", "--json", **away).stdout)
    assert people.grants_asked() == ["refresh_token"]
    assert said["credential"] != credential
    assert said["session"] == session["id"], "a renewed login began its bounds anew"

    done = typed("logout", **away)
    assert (done.returncode, "no longer human/ada" in done.stdout) == (0, True), done.stderr
    assert chat(staffed, said["credential"])[1]["error"]["code"] == "session_ended"
    assert people.refresh_tokens() == []
    assert typed("token", **away).returncode == 2
    assert "not logged in" in typed("logout", **away).stdout


def test_a_browser_comes_back_with_a_code_and_the_credential_stands_alone(
    staffed: GatewayProcess, people: LoginProcess, typed: Typed, away: dict[str, Any]
) -> None:
    with shown(away, "login", "--browser", "--print") as command:
        done = command.done()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cptr_")
    assert chat(staffed, done.stdout.strip())[0] == 200
    assert people.grants_asked() == ["authorization_code"]
    assert typed("login", "--browser", "--print", **away).stdout == done.stdout, "who is logged in was asked again"
    assert people.grants_asked() == []


def test_the_same_person_goes_on_with_the_session_and_another_gets_one_of_their_own(
    people: LoginProcess, typed: Typed, away: dict[str, Any]
) -> None:
    first = logged_in(typed, away)
    assert first.items() >= {"identity": "human/ada", "issuer": "people", "subject": "ada", "renewed": True}.items()
    assert logged_in(typed, away)["session"] == first["session"]
    people.tell(person="eve")
    other = logged_in(typed, away)
    assert other["identity"] == "human/eve", "the scope that the registry names was not asked for"
    assert other["session"] != first["session"]


def test_only_the_answer_to_this_login_counts(people: LoginProcess, away: dict[str, Any]) -> None:
    away["BROWSER"] = "true"
    with shown(away, "login", "--browser", "--print") as command:
        url = command.line_with("redirect_uri=").strip()
        location = get(url)[1]
        port = urlsplit(location).port
        for path in ("/", "/favicon.ico", "/callback", "/callback?code=mine&state=other", "/callback?error=no&state="):
            assert get(f"http://127.0.0.1:{port}{path}")[0] == 400
        assert get(location)[0] == 200
        done = command.done()
    assert done.stdout.startswith("cptr_"), done.stderr


def get(url: str) -> tuple[int, str]:
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", f"{at.path}?{at.query}")
        with connection.getresponse() as response:
            response.read()
            return response.status, response.headers["location"] or ""
    finally:
        connection.close()


# Asking as often as the issuer allows.


class Passing:
    """A clock on which waiting passes at once; it writes down what was waited for, and may do something then."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.at_s += seconds
        self.waits.append(seconds)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.at_s, self.wait)


@pytest.fixture
def client(people: LoginProcess, away: dict[str, Any]) -> Client:
    return discover(find_issuer(find_data_plane(None, None, away), None))


@pytest.mark.parametrize(
    ("told", "begins"),
    [({"interval": 2}, [2, 2, 2]), ({"slow": 2}, [1, 6, 11, 11]), ({"interval": 5, "slow": 1}, [5, 10, 10])],
)
def test_it_waits_as_it_is_told_and_gives_up_at_the_end(
    people: LoginProcess, client: Client, told: dict[str, int], begins: list[float]
) -> None:
    people.tell(**told, device_life_s=60)
    client, passing = discover(client.login), Passing()
    with pytest.raises(CommandError, match="ended before anybody typed it") as ended:
        log_in_on_device(client, "openid", passing.clock)
    assert passing.waits[: len(begins)] == begins
    assert sum(passing.waits) <= 60
    assert "comptroller login --device" in ended.value.hint


def test_an_issuer_that_is_away_is_asked_more_seldom() -> None:
    with LoginProcess() as gone:
        gone.tell(device_life_s=20)
        client, passing = discover(LoginIssuer("people", gone.url, CLIENT_ID)), Passing()

        def wait(seconds: float) -> None:
            gone.stop()
            passing.wait(seconds)

        with pytest.raises(CommandError, match="ended before anybody typed it"):
            log_in_on_device(client, "openid", Clock(lambda: passing.at_s, wait))
    assert passing.waits == [1, 2, 4, 8]


# When it does not come to a login.


@pytest.mark.parametrize(
    ("told", "arguments", "words"),
    [
        ({"person": None}, ["--browser"], "refuses the login"),
        ({"other_issuer": "https://evil.example"}, ["--browser"], "from another issuer than people"),
        ({"other_nonce": "of-another"}, ["--browser"], "not of this login: its `nonce`"),
        ({"hidden": ["authorization_endpoint"]}, ["--browser"], "comptroller login --device"),
        ({"hidden": ["device_authorization_endpoint"]}, ["--device"], "comptroller login --browser"),
        ({"hidden": ["issuer"]}, ["--device"], "not as OpenID Connect has it"),
        ({"person": "bob"}, ["--browser"], "for the subject bob stands for no identity"),
        ({}, ["--issuer", "other"], "Say --issuer: people"),
        ({}, ["--browser", "--lifetime", "30d"], "24"),
        ({}, ["--gateway", "PROVIDER"], "is not the data plane of a gateway"),
    ],
)
def test_what_cannot_be_is_said_with_a_way_on(
    people: LoginProcess, typed: Typed, away: dict[str, Any], told: dict[str, Any], arguments: list[str], words: str
) -> None:
    people.tell(**told)
    done = typed("login", *[people.url if each == "PROVIDER" else each for each in arguments], **away)
    assert (done.returncode, words in " ".join(done.stderr.split())) == (1, True), done.stderr
    assert "Traceback" not in done.stderr
    assert logins_of(away).read() is None


def test_an_answer_without_its_issuer_is_not_believed_where_it_must_have_one(
    people: LoginProcess, away: dict[str, Any]
) -> None:
    away["BROWSER"] = "true"
    with shown(away, "login", "--browser") as command:
        location = get(command.line_with("redirect_uri=").strip())[1]
        assert get(location.partition("&iss=")[0])[0] == 200
        done = command.done()
    assert (done.returncode, "from another issuer" in done.stderr) == (1, True), done.stderr
    assert people.grants_asked() == [], "the code was sent all the same"


def test_whoever_says_no_on_the_other_device_ends_it(people: LoginProcess, away: dict[str, Any]) -> None:
    with shown(away, "login", "--device") as command:
        people.type(code_of(command), yes=False)
        done = command.done()
    assert (done.returncode, "refused where the code was typed" in done.stderr) == (1, True)


def test_a_gateway_that_nobody_logs_in_at_says_so(gateway: GatewayProcess, typed: Typed, tmp_path: Path) -> None:
    done = typed("login", folder=tmp_path, COMPTROLLER_ADDR=gateway.url, XDG_STATE_HOME=str(tmp_path))
    assert (done.returncode, "cannot log in" in done.stderr) == (1, True)


# Going on.


def aged(logins: Logins, left_s: float) -> None:
    """The credential as it is when so much of its life is left."""
    login = logins.read()
    assert login is not None
    now_s = time.time()
    kept = msgspec.structs.replace(login.kept, got_at_s=now_s - 10_000, ends_at_s=now_s + left_s)
    logins.write(msgspec.structs.replace(login, kept=kept))


def test_helpers_that_ask_at_once_renew_once(people: LoginProcess, typed: Typed, away: dict[str, Any]) -> None:
    logged_in(typed, away)
    aged(logins_of(away), 10)
    people.grants_asked()
    got: list[str] = []

    def ask() -> None:
        kept = current(logins_of(away))
        got.append("" if kept is None else kept.credential)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert people.grants_asked() == ["refresh_token"]
    assert (len(got), len(set(got))) == (4, 1)


def test_a_login_that_the_issuer_ended_is_over(people: LoginProcess, typed: Typed, away: dict[str, Any]) -> None:
    logged_in(typed, away)
    aged(logins_of(away), -1)
    people.end_logins()
    for _ in range(2):
        done = typed("token", **away)
        assert (done.returncode, done.stdout) == (1, "")
        assert "login of human/ada is over" in done.stderr
        assert "comptroller login" in done.stderr
    assert typed("login", "--browser", "--print", **away).stdout.startswith("cptr_")


def test_what_there_is_works_on_while_the_issuer_is_away(
    people: LoginProcess, typed: Typed, away: dict[str, Any]
) -> None:
    logged_in(typed, away)
    logins = logins_of(away)
    login = logins.read()
    assert login is not None
    logins.write(msgspec.structs.replace(login, at=msgspec.structs.replace(login.at, issuer="http://127.0.0.1:9")))
    aged(logins, 100)
    done = typed("token", **away)
    assert done.stdout.strip() == login.kept.credential
    assert "works for 1 min more" in done.stderr
    aged(logins, -1)
    assert typed("token", **away).returncode == 1
    done = typed("logout", **away)
    assert (done.returncode, "was not taken back" in done.stderr) == (1, True)
    assert logins.read() is None


def test_a_login_that_is_renewed_for_somebody_else_is_over(
    typed: Typed, people: LoginProcess, away: dict[str, Any]
) -> None:
    first = logged_in(typed, away)
    people.tell(other_subject="eve")
    done = typed("token", "--fresh", **away)
    assert (done.returncode, done.stdout) == (1, "")
    assert "renewed the login of somebody else" in done.stderr
    kept = json.loads(typed("token", "--json", **away).stdout)
    assert (kept["identity"], kept["session"]) == (first["identity"], first["session"]), "and nothing of theirs is kept"


def test_without_a_refresh_token_it_lasts_a_working_day(
    people: LoginProcess, typed: Typed, away: dict[str, Any]
) -> None:
    said = logged_in(typed, away, "--no-refresh")
    assert said["renewed"] is False
    assert 7 * 3600 < said["ends_in_s"] <= 8 * 3600
    assert people.refresh_tokens() == []
    aged(logins_of(away), -1)
    assert "comptroller login" in typed("token", **away).stderr


def test_the_registry_may_say_that_no_refresh_token_is_kept(
    people: LoginProcess, sandbox: SandboxProcess, typed: Typed, tmp_path: Path
) -> None:
    members = {"human/ada": identity("red", "human", federated=[{"issuer": "people", "subject": "ada"}])}
    login = {"kind": "oidc", "url": people.url, "audience": AUDIENCE, "client_id": CLIENT_ID, "login_refresh": False}
    known = registry((), members, issuers={"people": login})
    with GatewayProcess(tmp_path, process(sandbox.url), known) as running:
        away = {"folder": tmp_path, "COMPTROLLER_URL": running.url, "XDG_STATE_HOME": str(tmp_path), "BROWSER": BROWSER}
        assert logged_in(typed, away)["renewed"] is False
    assert people.refresh_tokens() == []


def test_no_browser_is_sent_where_a_web_page_could_not_be(people: LoginProcess) -> None:
    """What opens an address opens files and programs, too."""
    for address in ("file:///etc/passwd", "http://login.acme.example/", "javascript:alert(1)", "https://a@b.example/"):
        client = discover(LoginIssuer("people", people.url, CLIENT_ID))
        client = client._replace(provider=msgspec.structs.replace(client.provider, authorization_endpoint=address))
        with pytest.raises(CommandError, match="which is not https"):
            log_in_by_browser(client, "openid", 0)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, None),
        ({"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID}, None),
        ({"iss": "https://evil.example"}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": []}, "aud"),
        ({"azp": "other"}, "azp"),
        ({"nonce": "another"}, "nonce"),
        ({"nonce": ""}, "nonce"),
    ],
)
def test_an_id_token_of_another_login_is_not_sent_on(changes: dict[str, Any], wrong: str | None) -> None:
    url = "https://login.acme.example"
    client = Client(LoginIssuer("people", url, CLIENT_ID), Provider(url, f"{url}/token"))
    claims = {"iss": url, "sub": "ada", "aud": CLIENT_ID, "nonce": "ours"} | changes
    content = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    tokens = Tokens(f"e30.{content}.c2ln")
    if wrong is None:
        assert client.claims(tokens, "ours").sub == "ada"
    else:
        with pytest.raises(CommandError, match=f"its `{wrong}` is not ours"):
            client.claims(tokens, "ours")
