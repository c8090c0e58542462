"""Both planes over TLS of the gateway's own: real SDKs, curl, the command, and certificates that are renewed."""

import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import anthropic
import openai
import pytest

from tests.end_to_end.caller import PATIENCE_S, eventually, mint
from tests.harness.authority import HOUR, Authority, Files
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

HELLO: Any = [{"role": "user", "content": "Tell me about locks."}]
HOSTS = ("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority: Authority) -> Files:
    return authority.issue("data", *HOSTS)


def settings(sandbox: SandboxProcess, data: Files, admin: Files) -> dict[str, Any]:
    return process(sandbox.url, **data.settings, admin=admin.settings)


@pytest.fixture(scope="module")
def secure(
    sandbox_process: SandboxProcess, authority: Authority, files: Files, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("secure")
    known = registry([budget("all", "100.00 USD")])
    own = settings(sandbox_process, files, authority.issue("admin", "gateway.acme.example", "127.0.0.1"))
    with GatewayProcess(folder, own, known, trust=authority.trust) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def test_it_says_where_it_listens(secure: GatewayProcess) -> None:
    greeting = f"listens on https://127.0.0.1:{secure.port}, admin on https://127.0.0.1:{secure.admin_port}"
    assert eventually(lambda: greeting in secure.log())  # it answers a little earlier than it says so


@pytest.mark.parametrize("streamed", [False, True])
def test_the_openai_package(
    secure: GatewayProcess, sandbox: SandboxProcess, authority: Authority, streamed: bool
) -> None:
    with openai.OpenAI(
        base_url=f"https://localhost:{secure.port}/v1",
        api_key=mint(secure)["credential"],
        http_client=openai.DefaultHttpxClient(verify=authority.trust),
        max_retries=0,
    ) as client:
        if streamed:
            with client.chat.completions.create(model="sandbox-large", messages=HELLO, stream=True) as events:
                said = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
        else:
            said = (
                client.chat.completions.create(model="sandbox-large", messages=HELLO).choices[0].message.content or ""
            )
    assert said
    assert sandbox.count() == 1


def test_the_anthropic_package(secure: GatewayProcess, sandbox: SandboxProcess, authority: Authority) -> None:
    with (
        anthropic.Anthropic(
            base_url=secure.url,
            api_key=mint(secure)["credential"],
            http_client=anthropic.DefaultHttpxClient(verify=authority.trust),
            max_retries=0,
        ) as client,
        client.messages.stream(model="sandbox-large", max_tokens=50, messages=HELLO) as stream,
    ):
        assert stream.get_final_text()
    assert sandbox.count() == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl(secure: GatewayProcess, authority: Authority) -> None:
    line = ["curl", "-sS", "--fail-with-body", "--cacert", str(authority.file), f"{secure.url}/v1/models"]
    done = subprocess.run(
        [*line, "-H", f"authorization: Bearer {mint(secure)['credential']}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert json.loads(done.stdout)["object"] == "list"
    unknown = subprocess.run(["curl", "-sS", f"{secure.url}/healthz"], capture_output=True, text=True, check=False)
    assert "certificate" in unknown.stderr, "curl does not know the authority"


def test_plain_http_gets_nothing(secure: GatewayProcess) -> None:
    for port in (secure.port, secure.admin_port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("GET", "/healthz")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
        connection.close()


def test_the_command_beside_it_knows_it_by_its_certificate(secure: GatewayProcess) -> None:
    assert secure.cli("status")["serving"] is True


def test_the_doctor_hears_it_on_both_planes(secure: GatewayProcess) -> None:
    checks = {check["name"]: check for check in secure.cli("doctor")}
    assert checks["store.gateway"]["state"] == "ok", checks["store.gateway"]


def test_the_command_elsewhere_wants_somebody_to_vouch_for_it(secure: GatewayProcess, authority: Authority) -> None:
    away = {"COMPTROLLER_ADDR": f"https://127.0.0.1:{secure.admin_port}", "COMPTROLLER_TOKEN": secure.admin_token()}
    command = secure.elsewhere("status", env=away)
    assert (command.returncode, "SSL_CERT_FILE" in command.stderr) == (1, True), command.stderr
    trusting = secure.elsewhere("status", env=away | {"SSL_CERT_FILE": str(authority.file)})
    assert trusting.returncode == 0, trusting.stderr


class Stranger:
    """Listens with a certificate of its own, and keeps what it is told."""

    def __init__(self, files: Files) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*files)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.met = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        while True:
            try:
                plug, _ = self._listener.accept()
            except OSError:
                return
            with plug, suppress(OSError):
                plug.settimeout(PATIENCE_S)
                with self._tls.wrap_socket(plug, server_side=True) as secured:
                    self.met += 1
                    self.heard.append(secured.recv(65_536))


def test_the_credential_is_not_sent_to_another_who_listens_there(secure: GatewayProcess, authority: Authority) -> None:
    """Somebody else, with a certificate of the same authority for the same address."""
    with Stranger(authority.issue("other", "127.0.0.1")) as stranger:
        misled = secure.folder / "misled.toml"
        misled.write_text(secure.config.read_text().replace(f":{secure.admin_port}", f":{stranger.port}"))
        done = secure.elsewhere("status", "--config", str(misled), env={})
    assert (done.returncode, "does not show the certificate in" in done.stderr) == (1, True), done.stderr
    assert stranger.met == 1
    assert b"".join(stranger.heard) == b""


# Renewal.


def shown_on(port: int, authority: Authority) -> bytes:
    """The certificate that a new handshake meets."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plug,
        authority.trust.wrap_socket(plug, server_hostname="127.0.0.1") as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def test_a_hangup_renews_both_certificates_and_drops_no_stream(
    secure: GatewayProcess, sandbox: SandboxProcess, authority: Authority
) -> None:
    before = [shown_on(port, authority) for port in (secure.port, secure.admin_port)]
    slow = {"model": "sandbox-large", "messages": HELLO, "stream": True}
    slow["sandbox"] = {"output_tokens": 60, "tokens_per_s": 20}
    headers = {"authorization": f"Bearer {mint(secure)['credential']}"}
    with (
        openai.DefaultHttpxClient(verify=authority.trust, timeout=PATIENCE_S) as client,
        client.stream("POST", f"{secure.url}/v1/chat/completions", json=slow, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        authority.issue("data", *HOSTS)
        authority.issue("admin", "gateway.acme.example", "127.0.0.1")
        secure.signal(signal.SIGHUP)
        eventually(lambda: shown_on(secure.port, authority) != before[0])
        eventually(lambda: shown_on(secure.admin_port, authority) != before[1])
        assert list(lines)[-2] == "data: [DONE]"
        assert secure.cli("status")["serving"] is True
        again = client.get(f"{secure.url}/v1/models", headers=headers)
        assert again.status_code == 200, "the kept connection goes on, too"
    assert secure.log().count('"certificate_read"') == 2


def test_a_hangup_with_a_bad_pair_keeps_the_last_good_one(secure: GatewayProcess, authority: Authority) -> None:
    before = shown_on(secure.port, authority)
    own = authority.issue("data", *HOSTS, ends=-HOUR / 2)
    secure.signal(signal.SIGHUP)
    eventually(lambda: '"certificate_refused"' in secure.log())
    assert "The last one stays" in secure.log()
    assert str(own.cert) in secure.log()
    assert shown_on(secure.port, authority) == before


# Starts that do not happen.


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("expired", "ended 2"),
        ("mismatched", "is not the key of the certificate in"),
        ("missing", "cannot be read: No such file or directory"),
        ("admin's mismatched", "is not the key of the certificate in"),
    ],
)
def test_a_pair_that_cannot_be_served_stops_the_start(
    sandbox_process: SandboxProcess, authority: Authority, tmp_path: Path, name: str, words: str
) -> None:
    own = Authority(tmp_path)
    good = own.issue("good", *HOSTS)
    bad = {
        "expired": own.issue("old", *HOSTS, begins=-2 * HOUR, ends=-HOUR / 2),
        "mismatched": Files(good.cert, own.issue("else", *HOSTS).key),
        "missing": Files(tmp_path / "nothing.pem", good.key),
    }[name.removeprefix("admin's ")]
    pairs = (good, bad) if name.startswith("admin's") else (bad, good)
    gateway = GatewayProcess(tmp_path / "gateway", settings(sandbox_process, *pairs), registry(), trust=own.trust)
    with pytest.raises(GatewayFailed, match="ended with code 1"):
        gateway.start()
    assert "The gateway does not start: " in gateway.log()
    assert words in gateway.log()
    assert "tls_cert" in gateway.log()
    assert "Traceback" not in gateway.log()
    assert not (gateway.state / "comptroller.db").exists(), "nothing was touched yet"
