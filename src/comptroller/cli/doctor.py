"""`comptroller doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from comptroller.cli.options import AsJson, Config, chosen_config
from comptroller.cli.said import Progress, write, write_json

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from comptroller.doctor.check import Check
    from comptroller.doctor.providers import Standing
    from comptroller.settings import Settings

_ANSWER_S = 10.0


def doctor(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """Look at everything that a gateway needs, and say what to do.

    Works while the gateway runs and while it does not. Changes nothing, spends nothing and shows no secret. Exit code
    1 if something fails, 0 if not: warnings are said.

    \b
    Example:
      comptroller doctor --config /etc/comptroller/comptroller.toml
    """
    import asyncio
    import os

    import msgspec

    from comptroller.cli.failure import FAILED
    from comptroller.cli.target import find_config
    from comptroller.doctor.check import count
    from comptroller.doctor.examine import examine

    path = find_config(chosen_config(context, config))
    checks = asyncio.run(examine(path, os.environ, _answers, lambda: _standing(path), Progress("doctor")))
    if as_json:
        write_json(msgspec.json.encode(checks))
    else:
        _show(checks)
    if count(checks, "fail"):
        raise typer.Exit(FAILED)


def _show(checks: list[Check]) -> None:
    from comptroller.doctor.check import count

    width = max(len(check.name) for check in checks)
    for check in checks:
        write(f"{check.state:<4}  {check.name:<{width}}  {check.sentence}")
        if check.hint:
            write(f"{'':<{width + 6}}  -> {check.hint}")
    write(f"{len(checks)} checks: {count(checks, 'fail')} failed, {count(checks, 'warn')} warnings.")


def _any_name() -> ssl.SSLContext:
    """Its certificate is for the public's name of it, and nothing secret is sent to ask whether it is ready."""
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answers(settings: Settings) -> Check:
    """Whether the gateway says that it is ready, on both of its planes."""
    import http.client
    from functools import partial

    from comptroller.doctor.check import fail, ok
    from comptroller.doctor.examine import GATEWAY

    planes = {settings.listen: settings.tls_cert, settings.admin.listen: settings.admin_cert}
    for plane, cert in planes.items():
        kind = http.client.HTTPConnection if cert is None else partial(http.client.HTTPSConnection, context=_any_name())
        connection = kind(plane.host, plane.port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return fail(GATEWAY, f"It does not answer on {plane}: {error}.", "Look at its log; restart it if it hangs.")
        finally:
            connection.close()
        if status != 200:
            hint = "See `ledger` in `comptroller status`; while it stops this is as it should be."
            return fail(GATEWAY, f"It answers on {plane} that it is not ready (HTTP {status}).", hint)
    return ok(GATEWAY, "It answers, and is ready.")


def _standing(config: Path) -> Standing | None:
    """What the gateway that runs here says of its providers and servers; None if it does not say."""
    from comptroller.cli.failure import CommandError
    from comptroller.cli.target import find_target
    from comptroller.cli.transport import ask_once
    from comptroller.control.status import Status

    try:
        target = find_target(config)._replace(timeout_s=_ANSWER_S)
        answer = ask_once(target, "GET", "/api/v1/status", {}, b"")
        if answer.status != 200:
            return None
        status = answer.read(Status)
        return {row.name: row for row in (*status.providers, *status.servers)}
    except CommandError:
        return None
