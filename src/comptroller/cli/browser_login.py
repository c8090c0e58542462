"""Logging in with a browser on this machine: a code with PKCE (RFC 7636) comes back over the loopback (RFC 8252)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import queue
import secrets
import sys
import threading
import webbrowser
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

from comptroller.cli.failure import CommandError
from comptroller.cli.issuer import Client, IssuerError, Tokens
from comptroller.cli.said import note, printable
from comptroller.core.identity.federation import read_location

PATIENCE_S = 300.0
_HOST = "127.0.0.1"
_PATH = "/callback"
_DONE = b"Comptroller has what it needs. You can close this page.\n"
_NOT_OURS = b"This is no answer to a login that is under way.\n"


def may_open_browser(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a person who could use a browser on this machine seems to be there."""
    if not sys.stdin.isatty() or environ.get("SSH_CONNECTION"):
        return False
    shown = sys.platform in {"darwin", "win32"} or any(map(environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if not shown:
        return False
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def log_in_by_browser(client: Client, scope: str, port: int) -> Tokens:
    """Send a browser to the issuer, and wait for it to come back. `port`: where to; 0 is any that is free."""
    provider = client.provider
    if not provider.authorization_endpoint or "S256" not in provider.code_challenge_methods_supported:
        hint = "Log in on another device: comptroller login --device."
        raise CommandError(f"{client.who} has no login by browser with PKCE.", hint)
    if read_location(provider.authorization_endpoint) is None:
        at = printable(provider.authorization_endpoint)
        raise CommandError(f"{client.who} logs people in at {at!r}, which is not https.", "Nothing was opened.")
    verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    answers: queue.Queue[Mapping[str, str]] = queue.Queue()
    with _listen(port, state, answers) as server:
        redirect_uri = f"http://{_HOST}:{server.server_port}{_PATH}"
        asked = {
            "response_type": "code",
            "client_id": client.login.client_id,
            "redirect_uri": redirect_uri,
            "scope": scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in provider.authorization_endpoint else "?"
        _open(f"{provider.authorization_endpoint}{joint}{urlencode(asked)}")
        code = _code(client, _wait(server, answers))
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    said = client.tokens(form)
    if isinstance(said, IssuerError):
        raise CommandError(f"{client.who} refuses the login: {said.said}.", "Start again: comptroller login.")
    client.claims(said, nonce)
    return said


def _challenge(verifier: str) -> str:
    """RFC 7636 section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _open(url: str) -> None:
    note("Log in with your browser. If it does not open, open this address on this machine:")
    note(f"    {printable(url)}")
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()  # some wait for the browser's end


def _listen(port: int, state: str, answers: queue.Queue[Mapping[str, str]]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0  # of a connection that says nothing

        def do_GET(self) -> None:
            at = urlsplit(self.path)
            found = dict(parse_qsl(at.query))
            ours = at.path == _PATH and hmac.compare_digest(found.get("state", "").encode(), state.encode())
            content = _DONE if ours else _NOT_OURS
            self.send_response(200 if ours else 400)
            self.send_header("content-type", "text/plain; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.send_header("cache-control", "no-store")
            self.send_header("referrer-policy", "no-referrer")
            self.end_headers()
            self.wfile.write(content)
            if ours:
                answers.put(found)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the library has
            """Codes stand in the addresses."""

    try:
        return ThreadingHTTPServer((_HOST, port), Handler)
    except OSError as error:
        raise CommandError(
            f"Nothing can listen on {_HOST} port {port}: {error.strerror}.", "Say another --port, or --device."
        ) from error


def _wait(server: ThreadingHTTPServer, answers: queue.Queue[Mapping[str, str]]) -> Mapping[str, str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        return answers.get(timeout=PATIENCE_S)
    except queue.Empty:
        raise CommandError(
            f"No browser came back within {PATIENCE_S:g} s.",
            "Start again; where the browser is on another machine: comptroller login --device.",
        ) from None
    finally:
        server.shutdown()
        thread.join()


def _code(client: Client, found: Mapping[str, str]) -> str:
    """The code that the browser brought, if it is of the issuer that was asked (RFC 9207)."""
    issuer = found.get("iss")
    if issuer != client.login.issuer and (
        issuer is not None or client.provider.authorization_response_iss_parameter_supported
    ):
        raise CommandError(
            f"The browser came back from another issuer than {client.login.name}.", "Nothing was sent; start again."
        )
    if "error" in found:
        error = IssuerError(found["error"], found.get("error_description", ""))
        raise CommandError(f"{client.who} refuses the login: {error.said}.", "Start again: comptroller login.")
    if not found.get("code"):
        raise CommandError(f"{client.who} sent the browser back without a code.", "Start again: comptroller login.")
    return found["code"]
