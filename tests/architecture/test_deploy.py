"""What is in deploy/ fits the program that it starts."""

import re
import shutil
import subprocess

import pytest

from comptroller.settings import Settings
from tests.architecture.house import ROOT

UNIT = ROOT / "deploy" / "comptroller.service"
CONTAINER = ROOT / "deploy" / "Containerfile"
CUT_AND_FLUSH_S = 45  # app.py: the cut of calls that are left, listeners, spans, the last write, and some air


def test_systemd_waits_longer_than_the_drain() -> None:
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(stop_s) >= Settings().drain_s + CUT_AND_FLUSH_S


def test_systemd_knows_every_line() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    done = subprocess.run([analyze, "verify", str(UNIT)], capture_output=True, text=True, check=False)
    faults = [
        line for line in done.stderr.splitlines() if "comptroller.service" in line and "not executable" not in line
    ]
    assert faults == []


def test_the_container_installs_what_the_lock_names_and_runs_as_nobody() -> None:
    lines = CONTAINER.read_text()
    assert "--require-hashes --no-deps -r requirements/run.txt" in lines
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", lines, re.MULTILINE):
        assert [name for name in source.split() if not (ROOT / name).exists()] == []
    users = re.findall(r"^USER (\S+)$", lines, re.MULTILINE)
    assert users == ["65532:65532"]
    assert not re.search(r"^(ENV|ARG) .*(KEY|TOKEN|SECRET)", lines, re.MULTILINE)
