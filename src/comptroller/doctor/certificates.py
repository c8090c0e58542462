"""The gateway's own certificates: could they be served, and for how long?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.gateway.certificates import CertificateError, Pair, good_until, pairs_of
from comptroller.settings import Settings

_RENEWED = "a gateway that runs takes the new files by itself"
_ENDS: tuple[tuple[timedelta, str], ...] = (
    (timedelta(days=1), f"Renew it today: then every handshake fails; {_RENEWED}."),
    (timedelta(days=7), f"Renew it this week, and see why nothing did: {_RENEWED}."),
    (timedelta(days=30), f"See that it is renewed in time: {_RENEWED}."),
)


def check_certificates(settings: Settings, now_ns: int) -> Iterator[Check]:
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    for name, pair in pairs_of(settings).items():
        yield _check(f"tls.{name}", pair, now)


def _check(name: str, pair: Pair, now: datetime) -> Check:
    try:
        ends = good_until(pair, now)
    except CertificateError as error:
        return fail(name, str(error), "The next start fails; a gateway that runs keeps the last good pair.")
    for span, hint in _ENDS:
        if ends - now <= span:
            return warn(
                name, f"{pair.cert} is good for {_said(ends - now)} only, until {ends:%Y-%m-%d %H:%M UTC}.", hint
            )
    if pair.key.stat().st_mode & stat.S_IRWXO:
        return warn(
            name, f"{pair.key} holds a private key, and everyone on this machine can read it.", f"chmod 600 {pair.key}"
        )
    return ok(name, f"{pair.cert} is good until {ends:%Y-%m-%d}, and {pair.key} is its key.")


def _said(left: timedelta) -> str:
    if left < timedelta(days=1):
        return "less than a day"
    return "1 day" if left.days == 1 else f"{left.days} days"
