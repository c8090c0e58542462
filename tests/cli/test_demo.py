"""`comptroller demo`: the sample as somebody meets it first."""

import signal
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from tests.end_to_end.caller import eventually
from tests.harness.gateway import free_ports

pytestmark = pytest.mark.processes


def test_the_first_thing_that_is_said_is_the_greeting(tmp_path: Path) -> None:
    """What keeps its real providers from being served stands in it, in words."""
    settings = resources.files("comptroller").joinpath("sample", "comptroller.toml").read_text(encoding="utf-8")
    for port, free in zip(("8787", "8788", "8789"), free_ports(3), strict=True):
        settings = settings.replace(f":{port}", f":{free}")
    (tmp_path / "comptroller.toml").write_text(settings)
    out = tmp_path / "said"
    with out.open("w") as said:
        line = [sys.executable, "-m", "comptroller", "demo", str(tmp_path)]
        with subprocess.Popen(line, stdout=said, stderr=subprocess.STDOUT, env={}) as running:
            try:
                eventually(lambda: "Stop with Ctrl-C" in out.read_text() or running.poll() is not None)
            finally:
                running.send_signal(signal.SIGTERM)
    text = out.read_text()
    assert text.startswith("comptroller listens on http://127.0.0.1:"), text
    assert "OpenAI: not served (environment variable OPENAI_API_KEY is not set)" in text
    assert running.returncode == 0
