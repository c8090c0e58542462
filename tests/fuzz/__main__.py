"""`python -m tests.fuzz --seconds 600 --seed 7`: a longer fuzz of the data plane's doors."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import run

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--seconds", type=float, default=600.0)
parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
given = parser.parse_args()
with tempfile.TemporaryDirectory() as folder:
    result = run(Path(folder), given.seed, given.seconds)
print(f"seed {given.seed}: {result.shots} shots, {dict(sorted(result.statuses.items()))}")
for verdict in result.verdicts:
    print(f"{'ok  ' if verdict.passed else 'FAIL'} {verdict.what}: {verdict.ours}, {verdict.theirs} {verdict.examples}")
for fault in result.faults:
    print(f"FAIL {fault}")
sys.exit(bool(result.faults) or not all(verdict.passed for verdict in result.verdicts))
