"""The handful of requests of our own to the gateway.

They are a few a run, so the standard library does: whoever imports this gets no further package. Those who must not
wait (`async with`) make them in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from comptroller.client.refused import Refused

SESSIONS = "/comptroller/v1/sessions"
ALLOWANCE = "/comptroller/v1/allowance"
ANSWER_S = 30.0


class GatewayUnreachable(ConnectionError):
    """Nobody answered, or not in time."""


class _StayHere(HTTPRedirectHandler):
    """A redirect would take the credential elsewhere: it is an error."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def is_here(host: str) -> bool:
    """Whether it is this machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Gateway:
    """Where agents call the gateway: `https://HOST` or `http://HOST:PORT`, without `/v1`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no address of a gateway: write https://HOST or http://HOST:PORT")
        self.url = url.rstrip("/")
        # A proxy of the environment would be handed the credential for a gateway on this very machine.
        self._opener = build_opener(_StayHere, *([ProxyHandler({})] if is_here(parts.hostname) else []))

    def ask(self, method: str, path: str, credential: str, sent: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A request of the caller API. Raises Refused, GatewayUnreachable."""
        content = None if sent is None else json.dumps(sent).encode()
        headers = {"authorization": f"Bearer {credential}", "content-type": "application/json"}
        return self._send(method, path, headers, content)

    def ask_oauth(self, path: str, fields: Mapping[str, str], credential: str | None = None) -> dict[str, Any]:
        """A form sent below /oauth. Raises Refused, GatewayUnreachable."""
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        return self._send("POST", path, headers, urlencode(fields).encode())

    def _send(self, method: str, path: str, headers: Mapping[str, str], content: bytes | None) -> dict[str, Any]:
        request = Request(f"{self.url}{path}", content, dict(headers), method=method)  # noqa: S310 - http or https
        try:
            with self._opener.open(request, timeout=ANSWER_S) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise Refused.answered(error.code, error.read()) from None
        except (URLError, OSError) as error:
            raise GatewayUnreachable(f"No gateway answers at {self.url}: {error}. Is COMPTROLLER_URL right?") from error
        except ValueError as error:
            raise GatewayUnreachable(f"What answers at {self.url} is no gateway.") from error
