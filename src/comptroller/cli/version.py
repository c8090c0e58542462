"""`comptroller version`."""

from __future__ import annotations

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import write


def version(as_json: AsJson = False, config: Config = None) -> None:
    """Say which version this command is.

    That of a running gateway is in `comptroller status`.

    \b
    Example:
      comptroller version
    """
    del config  # of every command, so of this one too; it makes no difference here
    from comptroller import __version__

    write(f'{{"version": "{__version__}"}}' if as_json else f"comptroller {__version__}")
