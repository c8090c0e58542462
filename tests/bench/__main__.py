"""`python -m tests.bench`: what a governed call costs on this machine, beside nginx and LiteLLM in the same run."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench import calls, machine, profile
from tests.bench.report import document, show
from tests.bench.run import Bench
from tests.bench.servers import nginx_program, provider

PARTS = {calls.PART: calls.measure, profile.PART: profile.measure}
NO_NGINX = "There is no nginx, so nothing is compared with it. On Debian: apt-get install nginx-light"


def main() -> int:
    chosen = _parser().parse_args()
    console = Console(soft_wrap=False, width=160 if not sys.stdout.isatty() else None)
    cores = machine.pick_cores()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.folder) as scratch:
        facts = machine.facts(Path(scratch), cores)
        cores.pin_others()
        if nginx_program() is None:
            console.print(NO_NGINX)
        with provider(cores) as port:
            bench = Bench(
                folder=Path(scratch),
                cores=cores,
                provider_port=port,
                rounds=chosen.rounds or (3 if chosen.quick else 7),
                round_s=chosen.seconds or (0.5 if chosen.quick else 3.0),
                warm_up_s=0.3 if chosen.quick else 1.0,
                quick=chosen.quick,
                say=lambda line: console.print(line, highlight=False),
            )
            figures = []
            for name in chosen.parts or PARTS:
                console.print(f"{name}", highlight=False)
                figures += PARTS[name](bench)
    command = f'make bench ARGS="{" ".join(sys.argv[1:])}"'
    show(figures, facts, command, console)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(document(figures, facts, command), indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, epilog='Example: make bench ARGS="calls --rounds 5"'
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="under a minute: fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help="of each contestant, in turn (default 7, or 3)")
    parser.add_argument("--seconds", type=float, help="of each round under load (default 3, or 0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure with all its rounds")
    parser.add_argument("--folder", type=Path, help="where states are kept meanwhile (default: the system's)")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())
