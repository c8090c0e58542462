"""`comptroller token` for a workload: what it has in, a credential out, from anywhere and without an admin."""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from comptroller.cli.credential_cache import CredentialCache, Kept
from comptroller.cli.target import split_address
from tests.cli.world import Typed, chat
from tests.harness.configuration import identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


@pytest.fixture(scope="module")
def federated(
    issuer: IssuerProcess, sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    members = {
        "agent/ant": identity("red", federated=[{"issuer": "main", "subject": "ant"}]),
        "agent/bee": identity("blue", federated=[{"issuer": "main", "subject": "bee"}]),
    }
    issuers = {"main": {"kind": "oidc", "url": issuer.url, "audience": AUDIENCE}}
    folder = tmp_path_factory.mktemp("exchange")
    with GatewayProcess(folder, process(sandbox.url), registry((), members, issuers=issuers)) as running:
        yield running


@pytest.fixture
def away(federated: GatewayProcess, tmp_path: Path) -> dict[str, Any]:
    """Where a workload is: no comptroller.toml, a home of its own, and the gateway's address."""
    return {"folder": tmp_path, "COMPTROLLER_URL": federated.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_a_token_in_a_file_becomes_a_credential_that_calls_and_is_kept(
    federated: GatewayProcess, issuer: IssuerProcess, typed: Typed, away: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(issuer.token(sub="ant") + "\n")
    done = typed("token", "--token-file", str(path), **away)
    assert done.returncode == 0, done.stderr
    credential = done.stdout.strip()
    assert chat(federated, credential)[0] == 200
    assert typed("token", "--token-file", str(path), **away).stdout.strip() == credential, "it was not kept"
    assert typed("token", "--token-file", str(path), "--fresh", **away).stdout.strip() != credential
    path.write_text(issuer.token(sub="bee"))
    said = json.loads(typed("token", "--token-file", str(path), "--json", **away).stdout)
    assert said["identity"] == "agent/bee", "another's token got what was kept"
    assert said["ends_in_s"] > 3500
    kept = [each for each in (tmp_path / "cache").rglob("*") if each.is_file()]
    assert len(kept) == 2
    assert {stat.S_IMODE(each.stat().st_mode) for each in kept} == {0o600}
    assert all(stat.S_IMODE(each.parent.stat().st_mode) == 0o700 for each in kept)


def test_another_token_of_the_same_workload_has_to_prove_itself(
    issuer: IssuerProcess, typed: Typed, away: dict[str, Any], tmp_path: Path
) -> None:
    """What was kept for one token says nothing about the next; the session goes on."""
    path = tmp_path / "token"

    def said(token: str) -> Any:
        path.write_text(token)
        done = typed("token", "--token-file", str(path), "--json", **away)
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    first = said(issuer.token(sub="ant", jti="1"))
    assert "aud" in said(issuer.token(sub="ant", aud="https://other.example")), "a token that is refused was not sent"
    second = said(issuer.token(sub="ant", jti="2"))
    assert (second["session"], second["credential"] != first["credential"]) == (first["session"], True)


def test_nothing_says_where_the_gateway_is(typed: Typed, tmp_path: Path) -> None:
    """A workload needs its address, and no admin credential."""
    (tmp_path / "a").write_text("cptrsec_x")
    done = typed("token", "agent/ant", "--secret-file", "a", folder=tmp_path)
    assert done.returncode == 1
    assert "--gateway URL or COMPTROLLER_URL" in done.stderr
    assert "COMPTROLLER_TOKEN" not in done.stderr
    assert "Others on this machine can read a: chmod 600 a" in done.stderr
    (tmp_path / "a").chmod(0o600)
    assert "chmod" not in typed("token", "agent/ant", "--secret-file", "a", folder=tmp_path).stderr
    done = typed("status", folder=tmp_path, COMPTROLLER_CONFIG="gone.toml")
    assert f"COMPTROLLER_CONFIG names {tmp_path / 'gone.toml'}, which is no file" in done.stderr


def test_when_a_credential_is_about_to_end_its_session_goes_on_until_that_is_over(
    federated: GatewayProcess, issuer: IssuerProcess, typed: Typed, away: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text(issuer.token(sub="ant"))

    def said() -> dict[str, Any]:
        done = typed("token", "--token-file", str(path), "--json", **away)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def age() -> None:
        (kept,) = (tmp_path / "cache").rglob("*.json")
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"ends_at_s": 1.0}))

    first = said()
    age()
    second = said()
    assert (second["session"], second["credential"] != first["credential"]) == (first["session"], True)
    federated.admin("POST", f"/sessions/{first['session']}/end", {"reason": "test"})
    age()
    assert said()["session"] != first["session"]


def test_a_token_in_a_variable_and_the_identity_that_it_must_be(
    issuer: IssuerProcess, typed: Typed, away: dict[str, Any]
) -> None:
    away["ID_TOKEN"] = issuer.token(sub="ant")
    assert typed("token", "agent/ant", "--token-env", "ID_TOKEN", **away).stdout.startswith("cptr_")
    done = typed("token", "agent/bee", "--token-env", "ID_TOKEN", **away)
    assert done.returncode == 1
    assert "stands for agent/ant, and not for agent/bee" in done.stderr
    assert done.stdout == ""


def test_a_workflow_asks_github_for_its_token(issuer: IssuerProcess, typed: Typed, away: dict[str, Any]) -> None:
    """GitHub's own service is a small stand-in here; the token in its answer is of the real issuer."""
    asked: list[tuple[str, str | None]] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["authorization"]))
            audience = parse_qs(urlsplit(self.path).query)["audience"][0]
            body = json.dumps({"value": issuer.token(sub="ant", aud=audience)}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library has
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        away["ACTIONS_ID_TOKEN_REQUEST_URL"] = f"http://127.0.0.1:{server.server_port}/token?api-version=2.0"
        away["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "of-the-run"
        done = typed("token", "--github-audience", AUDIENCE, **away)
        server.shutdown()
        thread.join()
    assert done.stdout.startswith("cptr_"), done.stderr
    ((path, credential),) = asked
    assert credential == "Bearer of-the-run"
    assert parse_qs(urlsplit(path).query) == {"api-version": ["2.0"], "audience": [AUDIENCE]}


def test_a_bootstrap_secret_is_shown_once_used_and_taken_back(
    federated: GatewayProcess, typed: Typed, away: dict[str, Any], tmp_path: Path
) -> None:
    secret = typed.about(federated, "secrets", "issue", "agent/ant", "--expires", "30d").strip()
    assert secret.startswith("cptrsec_")
    assert secret not in (federated.state / "comptroller.db").read_bytes().decode("latin-1")
    path = tmp_path / "ant.secret"
    path.write_text(secret)
    done = typed("token", "agent/ant", "--secret-file", str(path), **away)
    assert done.returncode == 0, done.stderr
    assert chat(federated, done.stdout.strip())[0] == 200
    status, body, _ = chat(federated, secret)
    assert (status, "bootstrap secrets make no calls" in body["error"]["message"]) == (401, True)

    (row,) = typed.rows(federated, "secrets", "--identity", "agent/ant")
    assert (row["identity"], row["state"], row["created_by"]) == ("agent/ant", "active", "bootstrap")
    assert secret.split("_")[2] not in json.dumps(row)
    for other in ("agent/bee", "agent/nobody"):
        done = typed("token", other, "--secret-file", str(path), **away)
        assert (done.returncode, "no secret of this identity" in done.stderr) == (1, True)

    (opened,) = row["sessions"]
    revoked = typed("secrets", "revoke", row["id"], "--reason", "it was in a chat", "--config", str(federated.config))
    assert "1 session that it opened goes on" in revoked.stderr
    assert f"comptroller sessions end {opened} " in revoked.stderr
    done = typed("token", "agent/ant", "--secret-file", str(path), "--fresh", **away)
    assert (done.returncode, "taken back by bootstrap: it was in a chat" in done.stderr) == (1, True)
    assert typed.rows(federated, "secrets", "--identity", "agent/ant") == []
    (row,) = typed.rows(federated, "secrets", "list", "--all", "--identity", "agent/ant")
    assert (row["state"], row["revoked_reason"]) == ("revoked", "it was in a chat")
    assert secret not in federated.log()


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["token"], "For whom?", 2),
        (["token", "agent/ant", "--gateway", "http://127.0.0.1:9"], "are for an exchange or a login", 2),
        (["token", "--token-env", "A", "--token-file", "b"], "no second one", 2),
        (["token", "--token-env", "NOT_SET"], "NOT_SET is empty or not set", 1),
        (["token", "--token-file", "missing"], "missing cannot be read", 1),
        (["token", "--secret-env", "NOT_SET"], "A secret is of one identity", 1),
        (["token", "--github-audience", AUDIENCE], "id-token: write", 1),
        (["token", "--token-env", "WRONG"], "no signed JWT", 1),
        (["token", "--token-env", "WRONG", "--gateway", "ftp://x"], "--gateway is 'ftp://x'", 1),
        (["secrets", "issue", "agent/ant", "--expires", "1y"], "not a duration", 2),
    ],
)
def test_what_cannot_be_is_said_with_a_way_on(
    typed: Typed, away: dict[str, Any], arguments: list[str], words: str, code: int
) -> None:
    done = typed(*arguments, WRONG="hush-hush", **away)
    assert (done.returncode, words in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert "hush-hush" not in done.stdout + done.stderr


def test_a_secret_cannot_be_issued_for_nobody_or_for_ever(federated: GatewayProcess, typed: Typed) -> None:
    done = typed("secrets", "issue", "agent/nobody", "--expires", "1d", "--config", str(federated.config))
    assert (done.returncode, "no identity 'agent/nobody'" in done.stderr) == (1, True)
    done = typed("secrets", "issue", "agent/ant", "--expires", "91d", "--config", str(federated.config))
    assert (done.returncode, "at most 90 days" in done.stderr) == (1, True)


# What is kept.


def kept(now_s: float, life_s: float = 3600) -> Kept:
    return Kept("cptr_x", "agent/ant", "ses_1", now_s, now_s + life_s)


@pytest.mark.parametrize(
    ("ago_s", "life_s", "fresh"),
    [(0, 3600, True), (3200, 3600, True), (3301, 3600, False), (-60, 3600, False), (50, 60, False), (10, 60, True)],
)
def test_a_kept_credential_is_used_until_shortly_before_it_ends(
    tmp_path: Path, ago_s: float, life_s: float, fresh: bool
) -> None:
    import time

    cache = CredentialCache({"XDG_CACHE_HOME": str(tmp_path)})
    cache.keep(kept(time.time() - ago_s, life_s), "a", "b")
    found = cache.get("a", "b")
    assert found is not None
    assert found.fresh is fresh
    assert cache.get("ab", "") is None


@pytest.mark.parametrize("spoil", ["readable", "a link", "nonsense", "empty"])
def test_a_file_that_others_can_touch_or_that_is_damaged_is_not_believed(tmp_path: Path, spoil: str) -> None:
    import time

    cache = CredentialCache({"XDG_CACHE_HOME": str(tmp_path)})
    cache.keep(kept(time.time()), "a")
    (path,) = (each for each in tmp_path.rglob("*.json"))
    match spoil:
        case "readable":
            path.chmod(0o640)
        case "a link":
            path.rename(tmp_path / "other")
            path.symlink_to(tmp_path / "other")
        case "nonsense":
            path.write_bytes(b"{nonsense")
        case _:
            path.write_bytes(b"")
    assert cache.get("a") is None


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://gateway.acme.example:8787", True),
        ("http://10.0.0.5:8787", True),
        ("http://127.evil.example", True),
        ("https://gateway.acme.example", False),
        ("http://127.0.0.1:8787", False),
        ("http://localhost:8787", False),
        ("http://[::1]:8787", False),
    ],
)
def test_who_sends_a_credential_in_the_clear_is_told(
    address: str, *, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    split_address("--gateway", address)
    said = capsys.readouterr().err
    assert ("travels in the clear, credentials too" in said) is told
