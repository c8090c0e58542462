"""`comptroller doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from comptroller.cli.options import AsJson, Config, chosen_config
from comptroller.cli.said import Progress, write, write_json

if TYPE_CHECKING:
    from comptroller.doctor.check import Check
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
    checks = asyncio.run(examine(path, os.environ, _answers, Progress("doctor")))
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


def _answers(settings: Settings) -> Check:
    """Whether the gateway says that it is ready, on both of its planes."""
    import http.client

    from comptroller.doctor.check import fail, ok

    name = "store.gateway"
    for plane in dict.fromkeys((settings.listen, settings.admin.listen)):
        connection = http.client.HTTPConnection(plane.host, plane.port, timeout=_ANSWER_S)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return fail(name, f"It does not answer on {plane}: {error}.", "Look at its log; restart it if it hangs.")
        finally:
            connection.close()
        if status != 200:
            hint = "See `ledger` in `comptroller status`; while it stops this is as it should be."
            return fail(name, f"It answers on {plane} that it is not ready (HTTP {status}).", hint)
    return ok(name, "It answers, and is ready.")
