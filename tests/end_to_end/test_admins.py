"""Named admins on running gateways: by the command, from elsewhere over TLS, by a real issuer, after disasters."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from comptroller.control.attempts import MOST_WRONG
from tests.end_to_end.caller import Said, ask, eventually, mint
from tests.harness.authority import Authority
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

STATUS, LOGIN = "/api/v1/status", "/api/v1/login"
BUDGETS = [budget("all", "10.00 USD")]


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


@pytest.fixture
def gateway(sandbox: SandboxProcess, issuer: IssuerProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    main = {"kind": "oidc", "url": issuer.url, "audience": AUDIENCE}
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, issuers={"main": main})) as running:
        yield running
        assert "Traceback" not in running.log()


def add(gateway: GatewayProcess, name: str, role: str, *more: str) -> str:
    """A named admin's credential, as the command prints it."""
    return gateway.command("admins", "add", name, "--role", role, *more).stdout.strip()


def as_admin(gateway: GatewayProcess, credential: str, *line: str) -> subprocess.CompletedProcess[str]:
    """The command with this credential, beside the gateway."""
    gateway.named, before = credential, gateway.named
    try:
        return gateway.command(*line, check=False)
    finally:
        gateway.named = before


def http(gateway: GatewayProcess, credential: str, method: str, path: str, body: Any = None) -> Said:
    headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
    with closing(HTTPConnection("127.0.0.1", gateway.admin_port, timeout=60)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        with connection.getresponse() as response:
            return Said(response.status, dict(response.getheaders()), response.read())


def opens(gateway: GatewayProcess, credential: str) -> bool:
    return http(gateway, credential, "GET", STATUS).status == 200


def code(said: Said) -> str:
    return json.loads(said.body)["code"]


def changes(gateway: GatewayProcess, noun: str) -> list[tuple[str, str, str]]:
    """(verb, key, actor), newest first."""
    found = gateway.admin("GET", "/changes?limit=100")
    return [(each["verb"], each["key"], each["actor"]) for each in found if each["noun"] == noun]


def test_the_whole_life_of_admins_by_the_command(gateway: GatewayProcess) -> None:
    ada = add(gateway, "ada", "admin", "--expires", "90d")
    refused = gateway.command("status", check=False)
    assert refused.returncode == 1
    assert "The bootstrap credential ended" in refused.stderr
    assert "Ask ada." in refused.stderr
    assert "COMPTROLLER_TOKEN" in refused.stderr

    gateway.named = ada
    olga, vera = add(gateway, "olga", "operator"), add(gateway, "vera", "viewer")
    table = gateway.command("admins", "list").stdout
    assert all(name in table for name in ("ada", "olga", "vera", "operator", "never"))

    assert as_admin(gateway, vera, "budgets").returncode == 0
    forbidden = as_admin(gateway, vera, "suspend", "team", "red", "--reason", "a leak")
    assert (forbidden.returncode, "vera is viewer, and this takes operator" in forbidden.stderr) == (1, True)
    assert as_admin(gateway, olga, "suspend", "team", "red", "--reason", "a leak").returncode == 0
    (stop,) = gateway.cli("stops")
    assert stop["actor"] == "olga", "the name stands on the record"
    assert as_admin(gateway, olga, "resume", "team", "red", "--reason", "all is well").returncode == 0
    assert as_admin(gateway, olga, "keys", "rotate", "--reason", "routine").returncode == 1
    assert as_admin(gateway, ada, "keys", "rotate", "--reason", "routine").returncode == 0

    rotated = gateway.command("admins", "rotate", "olga").stdout.strip()
    assert not opens(gateway, olga)
    assert opens(gateway, rotated)
    gateway.command("admins", "disable", "olga", "--reason", "she has left")
    gone = as_admin(gateway, rotated, "status")
    assert (gone.returncode, "olga is disabled: she has left." in gone.stderr) == (1, True)
    last = gateway.command("admins", "disable", "ada", "--reason", "no more", check=False)
    assert (last.returncode, "last admin" in last.stderr) == (1, True)

    gateway.kill9()
    gateway.start()
    assert opens(gateway, vera)
    assert not opens(gateway, rotated)
    assert changes(gateway, "admin") == [
        ("disable", "olga", "ada"),
        ("rotate", "olga", "ada"),
        ("add", "vera", "ada"),
        ("add", "olga", "ada"),
        ("add", "ada", "bootstrap"),
    ]
    kept = b"".join(path.read_bytes() for path in gateway.state.rglob("*") if path.is_file())
    assert not any(secret.encode() in kept or secret in gateway.log() for secret in (ada, olga, rotated, vera))


def test_each_plane_refuses_the_credential_of_the_other(gateway: GatewayProcess) -> None:
    session = mint(gateway)["credential"]
    assert ask(gateway, session).status == 200
    said = http(gateway, session, "GET", STATUS)
    assert (said.status, code(said)) == (403, "credential_forbidden")
    vera = add(gateway, "vera", "viewer")
    for path in ("/v1/chat/completions", "/v1/messages"):
        refused = ask(gateway, vera, path=path)
        assert refused.status == 401
        assert b"admin" in refused.body
        assert vera.encode() not in refused.body
    assert http(gateway, vera, "GET", STATUS).status == 200
    assert http(gateway, vera, "GET", "/metrics").status == 200


def test_an_admin_logs_in_with_a_token_of_an_issuer(gateway: GatewayProcess, issuer: IssuerProcess) -> None:
    known = ("--issuer", "main", "--subject", "deploy-bot")
    said = gateway.command("admins", "add", "deploy", "--role", "operator", *known).stdout
    assert "logs in with tokens of main" in said
    gateway.env["ID_TOKEN"] = issuer.token(sub="deploy-bot")
    credential = gateway.command("admins", "login", "--token-env", "ID_TOKEN").stdout.strip()
    assert as_admin(gateway, credential, "suspend", "team", "red", "--reason", "x").returncode == 0
    assert changes(gateway, "team")[0] == ("suspend", "red", "deploy")
    assert changes(gateway, "admin")[0] == ("login", "deploy", "deploy")
    assert as_admin(gateway, credential, "keys", "rotate", "--reason", "x").returncode == 1
    assert ask(gateway, credential).status == 401, "it makes no calls"

    token_file = gateway.folder / "token"
    token_file.write_text(issuer.token(sub="deploy-bot\u0000"))
    other = gateway.command("admins", "login", "--token-file", str(token_file), check=False)
    assert (other.returncode, "of no admin who may act" in other.stderr) == (1, True)

    gateway.restart()
    assert not opens(gateway, credential), "a restart ends logins, and the admin logs in again"
    again = gateway.command("admins", "login", "--token-env", "ID_TOKEN", "--lifetime", "5m").stdout.strip()
    assert opens(gateway, again)
    gateway.command("admins", "disable", "deploy", "--reason", "no more")
    assert not opens(gateway, again)
    assert gateway.command("admins", "login", "--token-env", "ID_TOKEN", check=False).returncode == 1


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"sub": "somebody"}, "admin_unmatched"),
        ({"sub": "deploy-bot", "aud": "another"}, "token_invalid"),
        ({"sub": "deploy-bot", "lifetime": -600}, "token_invalid"),
    ],
)
def test_a_token_that_proves_no_admin_opens_nothing(
    gateway: GatewayProcess, issuer: IssuerProcess, claims: dict[str, Any], wanted: str
) -> None:
    known = {"name": "deploy", "role": "admin", "issuer": "main", "subject": "deploy-bot"}
    assert gateway.admin("POST", "/admins", known)["credential"] is None
    said = http(gateway, "", "POST", LOGIN, {"token": issuer.token(**claims)})
    assert (said.status, code(said)) == (401, wanted)


def test_whoever_guesses_tokens_is_told_to_wait(gateway: GatewayProcess, issuer: IssuerProcess) -> None:
    gateway.admin("POST", "/admins", {"name": "deploy", "role": "viewer", "issuer": "main", "subject": "deploy-bot"})
    said = [http(gateway, "", "POST", LOGIN, {"token": "a.b.c"}) for _ in range(MOST_WRONG + 1)]
    assert [each.status for each in said] == [401] * MOST_WRONG + [429]
    good = http(gateway, "", "POST", LOGIN, {"token": issuer.token(sub="deploy-bot")})
    assert good.status == 429, "a login costs work, so the whole address waits"
    assert gateway.admin("GET", "/status")["serving"] is True
    eventually(lambda: "admin_guessed" in gateway.log())


def test_who_owns_the_machine_gets_in_again(gateway: GatewayProcess) -> None:
    add(gateway, "ada", "admin")
    running = gateway.command("admins", "recover", "bob", "--reason", "ada has left", check=False)
    assert running.returncode == 1
    assert str(gateway.pid) in running.stderr, "the gateway has the store, and is named"
    assert gateway.sigterm() == 0
    gateway.named = gateway.command("admins", "recover", "bob", "--reason", "ada has left").stdout.strip()
    assert gateway.cli("admins", "list")[1]["name"] == "bob", "offline, too"
    gateway.start()
    assert changes(gateway, "admin")[0] == ("recover", "bob", "recovery")
    gateway.command("admins", "rotate", "ada")


def test_a_restore_gives_nobody_a_right_back(gateway: GatewayProcess) -> None:
    gateway.named = add(gateway, "ada", "admin")
    olga, otto = add(gateway, "olga", "operator"), add(gateway, "otto", "operator")
    backup = gateway.command("backup", str(gateway.folder / "backups")).stdout.strip()
    gateway.command("admins", "disable", "olga", "--reason", "she has left")
    rotated = gateway.command("admins", "rotate", "otto").stdout.strip()
    vera = add(gateway, "vera", "viewer")
    assert gateway.sigterm() == 0
    gateway.command("restore", backup, "--reason", "the disk died", "--yes")
    gateway.start()
    assert not opens(gateway, olga)
    assert not opens(gateway, otto)
    assert opens(gateway, rotated)
    assert opens(gateway, vera)
    carried = {key for verb, key, actor in changes(gateway, "admin") if (verb, actor) == ("carry", "restore")}
    assert carried == {"olga", "otto", "vera"}
    bootstrap = http(gateway, gateway.admin_token(), "GET", STATUS)
    assert (bootstrap.status, code(bootstrap)) == (403, "bootstrap_ended")


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = probe.getsockname()[0]
    return None if found.startswith("127.") else found


def test_a_named_admin_may_come_from_elsewhere_over_tls(sandbox: SandboxProcess, tmp_path: Path) -> None:
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    authority = Authority(tmp_path)
    admin = {**authority.issue("admin", address, "127.0.0.1").settings, "hosts": [address]}
    away = GatewayProcess(
        tmp_path / "gateway", process(sandbox.url, admin=admin), registry(BUDGETS), trust=authority.trust
    )
    here = f"127.0.0.1:{away.admin_port}"
    away.config.write_text(away.config.read_text().replace(here, f"0.0.0.0:{away.admin_port}"))
    with away:
        there = {"COMPTROLLER_ADDR": f"https://{address}:{away.admin_port}", "SSL_CERT_FILE": str(authority.file)}
        nobody = away.elsewhere("status", env=there | {"COMPTROLLER_TOKEN": away.admin_token()})
        assert (nobody.returncode, "this machine only" in nobody.stderr) == (1, True), nobody.stderr
        credential = away.admin("POST", "/admins", {"name": "vera", "role": "viewer"})["credential"]
        named = away.elsewhere("budgets", "--json", env=there | {"COMPTROLLER_TOKEN": credential})
        assert named.returncode == 0, named.stderr
        nobody = away.elsewhere("status", env=there | {"COMPTROLLER_TOKEN": away.admin_token()})
        assert (nobody.returncode, "this machine only" in nobody.stderr) == (1, True), nobody.stderr
        assert away.admin("GET", "/status")["serving"] is True, "beside it the bootstrap credential still works"
