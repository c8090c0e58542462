"""`python -m tests.bench`: what a governed call costs on this machine, beside nginx and LiteLLM in the same run."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from tests.bench import (
    calls,
    controls,
    first_byte,
    growth,
    latency,
    litellm,
    machine,
    profile,
    starvation,
    stops,
    stored,
    streams,
    tools,
)
from tests.bench.figures import Figure
from tests.bench.load import LoadFailed
from tests.bench.page import publish
from tests.bench.report import document, show
from tests.bench.run import Bench
from tests.bench.servers import nginx_program, provider
from tests.harness.gateway import GatewayFailed

PARTS: Mapping[str, Callable[[Bench], list[Figure]]] = {
    calls.PART: calls.measure,
    latency.PART: latency.measure,
    streams.PART: streams.measure,
    first_byte.PART: first_byte.measure,
    stored.PART: stored.measure,
    controls.PART: controls.measure,
    tools.PART: tools.measure,
    starvation.PART: starvation.measure,
    stops.PART: stops.measure,
    growth.IDENTITIES: growth.measure_identities,
    growth.RECORDS: growth.measure_records,
    profile.PART: profile.measure,
}
NO_NGINX = "There is no nginx, so nothing is compared with it. On Debian: apt-get install nginx-light"


def main() -> int:
    chosen = _parser().parse_args()
    if not hasattr(os, "sched_setaffinity"):
        sys.stderr.write("The bench pins processes to cores and reads /proc: it runs on Linux only.\n")
        return 1
    console = Console(soft_wrap=False, width=160 if not sys.stdout.isatty() else None)
    cores = machine.pick_cores()
    for missing in ([] if nginx_program() else [NO_NGINX]) + ([] if litellm.installed() else [litellm.MISSING]):
        console.print(missing, highlight=False)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=chosen.folder) as scratch:
        facts = machine.facts(Path(scratch), cores)
        cores.pin_others()
        with provider(cores) as port, ExitStack() as stack:
            bench = _bench(chosen, Path(scratch), cores, port, console, stack)
            figures, failed = _measure(bench, chosen.parts or list(PARTS))
    command = f'make bench ARGS="{" ".join(sys.argv[1:])}"'
    show(figures, facts, command, console)
    found = document(figures, facts, command)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    if chosen.publish is not None:
        publish(found, chosen.publish)
    for sentence in failed:
        console.print(f"[red]FAILED[/red] {sentence}", highlight=False)
    return 1 if failed else 0


def _measure(bench: Bench, parts: Sequence[str]) -> tuple[list[Figure], list[str]]:
    """(every figure, what failed): a part that fails takes no other one with it."""
    figures: list[Figure] = []
    failed: list[str] = []
    for name in parts:
        began = time.monotonic()
        bench.say(name)
        try:
            figures += PARTS[name](bench)
        except (LoadFailed, GatewayFailed) as error:
            failed.append(f"{name}: {error}")
        bench.say(f"  {name} took {time.monotonic() - began:.0f} s")
    return figures, failed


def _bench(
    chosen: argparse.Namespace, scratch: Path, cores: machine.Cores, port: int, console: Console, stack: ExitStack
) -> Bench:
    quick = bool(chosen.quick or chosen.smoke)
    return Bench(
        folder=scratch,
        cores=cores,
        provider_port=port,
        rounds=chosen.rounds or (1 if chosen.smoke else 2 if quick else 7),
        round_s=chosen.seconds or (0.2 if chosen.smoke else 0.4 if quick else 3.0),
        warm_up_s=0.2 if quick else 1.0,
        quick=quick,
        smoke=bool(chosen.smoke),
        identities=(10, 1_000) if quick else (10, 1_000, 10_000, 100_000),
        most_identities=chosen.identities or (1_000 if quick else 10_000),
        past_calls=chosen.calls or (100 if chosen.smoke else 2_000 if quick else 1_000_000),
        kept=chosen.keep,
        say=lambda line: console.print(line, highlight=False),
        stack=stack,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        epilog='Examples: make bench ARGS="--quick"; make bench ARGS="calls profile --rounds 5"; '
        'make bench ARGS="records --calls 10_000_000 --identities 100_000 --keep build/bench"',
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a minute or so: fewer and shorter rounds, small stores")
    parser.add_argument(
        "--smoke", action="store_true", help="once through everything: it runs, its numbers mean nothing"
    )
    parser.add_argument("--rounds", type=int, help="of each contestant, in turn (default 7; quick 2)")
    parser.add_argument("--seconds", type=float, help="of each round under load (default 3; quick 0.4)")
    parser.add_argument("--identities", type=int, help="the largest registry (default 10,000; quick 1,000)")
    parser.add_argument(
        "--calls", type=int, help="recorded before `records` is measured (default 1,000,000; quick 2,000)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure with all its rounds")
    parser.add_argument(
        "--folder", type=Path, help="where states stand meanwhile (default: where the system puts them)"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the store of `records` here for the next run")
    parser.add_argument("--publish", type=Path, metavar="DOCS", help="write the tables of DOCS/performance.md anew")
    return parser


if __name__ == "__main__":
    sys.exit(main())
