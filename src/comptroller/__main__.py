"""`python -m comptroller` and the command `comptroller`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command and end the process with its exit code."""
    from comptroller.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
