"""`comptroller serve`."""

from __future__ import annotations

import typer

from comptroller.cli.options import Config, chosen_config


def serve(context: typer.Context, config: Config = None) -> None:
    """Run the gateway.

    SIGTERM or Ctrl-C ends it once calls in flight have finished; a second one cuts them off, and they are
    charged all the same. A registry file is installed by itself only into an empty store; later,
    `comptroller apply` does it.

    \b
    Example:
      comptroller serve --config /etc/comptroller/comptroller.toml
    """
    from comptroller import app
    from comptroller.cli.holder import said_plainly
    from comptroller.cli.target import find_config

    with said_plainly("The gateway does not start: "):
        code = app.serve(find_config(chosen_config(context, config)))
    raise typer.Exit(code)
