"""An OpenID provider beside the gateway: a process of its own, on a port that the system picks."""

import http.client
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
AUDIENCE = "https://gateway.acme.example"
PATIENCE_S = 30.0


class IssuerProcess:
    """`with IssuerProcess() as issuer: issuer.token(sub="me")`."""

    module = "tests.harness.issuer_server"

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", self.module, "0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._errors, cwd=ROOT)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            self._errors.seek(0)
            raise RuntimeError(f"the issuer did not start: {self._errors.read().decode()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        self._errors.close()

    def stop(self) -> None:
        """It is down from here on."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()

    def token(
        self,
        *,
        aud: str | list[str] = AUDIENCE,
        alg: str = "RS256",
        lifetime: int = 600,
        iat: int | None = None,
        kid: str = "",
        typ: str = "",
        **claims: Any,
    ) -> str:
        """A token with these claims, signed by the newest key, or by that of this id."""
        sent = {"aud": aud, "alg": alg, "lifetime": lifetime, "iat": iat, "kid": kid, "typ": typ, "claims": claims}
        return self._ask("POST", "/test/issue", sent)

    def rotate(self, *, withdraw: bool = False) -> dict[str, str]:
        """Sign with new keys; the old ones stay published unless they are withdrawn. Their ids, by type."""
        return self._ask("POST", "/test/rotate", {"withdraw": withdraw})

    def asked(self) -> dict[str, int]:
        """How often each public path was asked for."""
        return self._ask("POST", "/test/asked", {})

    def published(self) -> list[dict[str, str]]:
        """Its public keys, as anybody reads them."""
        return self._ask("GET", "/jwks.json", None)["keys"]

    def _ask(self, method: str, path: str, sent: Any) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.url.rpartition(":")[2]), timeout=PATIENCE_S)
        try:
            connection.request(method, path, None if sent is None else json.dumps(sent).encode())
            with connection.getresponse() as response:
                assert response.status == 200, (path, response.status)
                return json.loads(response.read())
        finally:
            connection.close()


class LoginProcess(IssuerProcess):
    """One that people log in at (login_server.py)."""

    module = "tests.harness.login_server"

    def tell(self, **changes: Any) -> None:
        """Change what it remembers, by the names of its `Memory`."""
        self._ask("POST", "/test/tell", changes)

    def type(self, code: str, person: str = "ada", *, yes: bool = True) -> None:
        """What a person does with a device code."""
        self._ask("POST", "/test/type", {"code": code, "person": person, "yes": yes})

    def end_logins(self) -> None:
        """Nobody's refresh token is good any more."""
        self._ask("POST", "/test/end", {})

    def grants_asked(self) -> list[str]:
        """The grant types that the token endpoint was asked for, since this was last asked."""
        return [grant for _, grant in self._ask("POST", "/test/asked", {})]

    def refresh_tokens(self) -> list[str]:
        return self._ask("POST", "/test/refresh_tokens", {})
