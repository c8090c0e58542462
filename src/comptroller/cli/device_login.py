"""Logging in on another device (RFC 8628): a code is shown here, and typed where a browser is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from comptroller.cli.failure import CommandError
from comptroller.cli.issuer import Client, IssuerError, Tokens
from comptroller.cli.said import note, printable, say_seconds
from comptroller.cli.transport import UnansweredError

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_S = 5.0  # RFC 8628 section 3.5
_LEAST_S = 1.0


class Shown(msgspec.Struct, frozen=True):
    """RFC 8628 section 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    verification_uri_complete: str = ""
    interval: int = 5


class Clock(NamedTuple):
    """What passes while a person types."""

    now_s: Callable[[], float] = time.monotonic
    wait: Callable[[float], None] = time.sleep


def log_in_on_device(client: Client, scope: str, clock: Clock) -> Tokens:
    """Show a code, and ask the issuer until somebody has typed it, as often as it allows."""
    endpoint = client.provider.device_authorization_endpoint
    if not endpoint:
        hint = "Log in with a browser on this machine: comptroller login --browser."
        raise CommandError(f"{client.who} has no device flow.", hint)
    answer = client.post(endpoint, {"scope": scope})
    if answer.status != 200:
        raise CommandError(f"{client.who} begins no login: {client.error(answer).said}.", _client_hint(client))
    shown = answer.read(Shown)
    _show(shown)
    return _poll(client, shown, clock)


def _show(shown: Shown) -> None:
    note(f"Open {printable(shown.verification_uri)} on any device and type the code:")
    note("")
    note(f"    {printable(shown.user_code)}")
    note("")
    if shown.verification_uri_complete:
        note(f"or open {printable(shown.verification_uri_complete)} and compare the code.")
    note(f"Waiting; the code works for {say_seconds(shown.expires_in)}.")


def _poll(client: Client, shown: Shown, clock: Clock) -> Tokens:
    ends_s = clock.now_s() + shown.expires_in
    interval_s = max(_LEAST_S, float(shown.interval))
    while clock.now_s() + interval_s < ends_s:
        clock.wait(interval_s)
        try:
            said = client.tokens({"grant_type": _DEVICE_CODE, "device_code": shown.device_code})
        except UnansweredError:
            interval_s *= 2  # RFC 8628 section 3.5
            continue
        if isinstance(said, Tokens):
            return said
        interval_s = _next_s(client, said, interval_s)
    raise CommandError("The code ended before anybody typed it.", "Start again: comptroller login --device.")


def _next_s(client: Client, error: IssuerError, interval_s: float) -> float:
    """How long to wait before asking again (RFC 8628 section 3.5). Raises CommandError where it is over."""
    if error.error == "authorization_pending":
        return interval_s
    if error.error == "slow_down":
        return interval_s + _SLOWER_S
    if error.error == "expired_token":
        raise CommandError("The code ended before anybody typed it.", "Start again: comptroller login --device.")
    if error.error == "access_denied":
        raise CommandError("The login was refused where the code was typed.", "Start again, if that was a mistake.")
    raise CommandError(f"{client.who} ends the login: {error.said}.", _client_hint(client))


def _client_hint(client: Client) -> str:
    return f"Whoever runs the issuer allows the device flow for the public client {client.login.client_id}."
