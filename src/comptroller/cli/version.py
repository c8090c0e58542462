"""`comptroller version`."""

from __future__ import annotations

from comptroller.cli.options import AsJson
from comptroller.cli.said import write


def version(as_json: AsJson = False) -> None:
    """Say which version this command is.

    \b
    Example:
      comptroller version
    """
    from comptroller import __version__

    write(f'{{"version": "{__version__}"}}' if as_json else f"comptroller {__version__}")
