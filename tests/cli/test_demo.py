"""`comptroller demo`: the sample as somebody meets it first."""

import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import openai
import pytest

from tests.end_to_end.caller import eventually
from tests.harness.forms import wav
from tests.harness.gateway import free_ports

pytestmark = pytest.mark.processes


@contextmanager
def greeted(folder: Path) -> Generator[tuple[Path, subprocess.Popen[bytes]]]:
    """The sample on free ports, once it has said all that it says: its output, and itself until it is told to end."""
    settings = resources.files("comptroller").joinpath("sample", "comptroller.toml").read_text(encoding="utf-8")
    for port, free in zip(("8787", "8788", "8789"), free_ports(3), strict=True):
        settings = settings.replace(f":{port}", f":{free}")
    (folder / "comptroller.toml").write_text(settings)
    out = folder / "said"
    with out.open("w") as said:
        line = [sys.executable, "-m", "comptroller", "demo", str(folder)]
        with subprocess.Popen(line, stdout=said, stderr=subprocess.STDOUT, env={}) as running:
            try:
                eventually(lambda: "Stop with Ctrl-C" in out.read_text() or running.poll() is not None)
                yield out, running
            finally:
                running.send_signal(signal.SIGTERM)


def test_the_first_thing_that_is_said_is_the_greeting(tmp_path: Path) -> None:
    """What keeps its real providers from being served stands in it, in words."""
    with greeted(tmp_path) as (out, running):
        pass
    text = out.read_text()
    assert text.startswith("comptroller listens on http://127.0.0.1:"), text
    assert "OpenAI: not served (environment variable OPENAI_API_KEY is not set)" in text
    assert running.returncode == 0


def test_the_models_of_the_greeting_answer(tmp_path: Path) -> None:
    """Pictures and speech too: the README says that they go as chat does."""
    with greeted(tmp_path) as (out, _):
        given = dict(re.findall(r"export (OPENAI_\w+)=(\S+)", out.read_text()))
        with openai.OpenAI(base_url=given["OPENAI_BASE_URL"], api_key=given["OPENAI_API_KEY"], max_retries=0) as client:
            listed = {model.id for model in client.models.list()}
            assert listed == set(re.findall(r"sandbox-\w+", out.read_text()))
            assert client.images.generate(model="sandbox-picture", prompt="A hold.").data
            assert client.audio.speech.create(model="sandbox-speaker", voice="alloy", input="A hold.").content
            sound = ("a.wav", wav(20))
            assert client.audio.transcriptions.create(model="sandbox-listener", file=sound).text
