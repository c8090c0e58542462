"""`make incidents`: replays the incidents, and prints the numbers of docs/incidents.md."""

import argparse
import tempfile
from pathlib import Path

import msgspec

from tests.incidents.replay import replay, table


def main() -> None:
    """Replay, and print."""
    parser = argparse.ArgumentParser(prog="make incidents", description=__doc__, epilog="make incidents ARGS='--json'")
    parser.add_argument("--seed", type=int, default=1, help="of the normal work (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="all numbers, for machines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="incidents-") as folder:
        found = replay(Path(folder), given.seed)
    if given.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    print("| incident | calls | its cost | with limits | of it | calls that went out | stopped by |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(table(found.incidents)))
    print(f"\nnormal work beside it: {found.normal_calls:,} calls, of which stopped: {found.false_stops or 'none'}")
    print(f"what it heard: {dict(sorted(found.normal_heard.items()))}")


if __name__ == "__main__":
    main()
