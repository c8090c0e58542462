"""`python -m tests.real --model-python PATH`: run the comparison, print it, exit 1 on any mismatch."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.real import books, direct, gateway, model
from tests.real.processes import RunFailed
from tests.real.report import Report
from tests.real.tokens import Prices


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests.real", description=__doc__)
    parser.add_argument("--model-python", type=Path, required=True, help="the Python of the venv that has the model")
    parser.add_argument("--direct", action="store_true", help="without the gateway: check the oracle itself")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs, configuration and state")
    return parser.parse_args()


@contextlib.contextmanager
def folder(keep: bool) -> Iterator[Path]:
    """A new folder for this run."""
    if keep:
        kept = Path(tempfile.mkdtemp(prefix="comptroller-real-"))
        print(f"logs, configuration and state: {kept}", file=sys.stderr)
        yield kept
    else:
        with tempfile.TemporaryDirectory(prefix="comptroller-real-") as name:
            yield Path(name)


def run(options: argparse.Namespace, report: Report) -> None:
    """Start what is needed and compare."""
    prices = Prices()
    key = f"local-{secrets.token_hex(16)}"
    with folder(options.keep) as base, model.serving(options.model_python, base, key) as server:
        if options.direct:
            direct.run(report, server)
            return
        with gateway.serving(base / "gateway", server, prices) as front:
            try:
                books.Run(report, server, front, prices).all()
            except Exception as failure:
                failure.add_note(f"the gateway's log ends:\n{front.child.tail()}")
                raise


def main() -> int:
    """The exit code: 0 all passed, 1 a mismatch or a run that could not go on."""
    options = arguments()
    os.environ["NO_PROXY"] = "127.0.0.1"  # the SDK obeys the environment's proxies, and everything is on loopback
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the children are stopped
    report = Report("model server directly" if options.direct else "gateway against model server")
    started = time.monotonic()
    try:
        run(options, report)
    except RunFailed as failure:
        report.stopped = "\n".join([str(failure), *getattr(failure, "__notes__", [])])
    seconds = time.monotonic() - started
    print(json.dumps(report.fields(seconds), indent=2) if options.json else report.table(seconds))
    return int(not report.ok)


if __name__ == "__main__":
    sys.exit(main())
