"""Images and sound through the official package, on real sockets: what is billed each, by length, or by tokens."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tests.end_to_end.caller import Row, nanos, settled_row
from tests.end_to_end.test_openai_more import connect, the_row
from tests.harness.configuration import budget, media_prices, process, registry
from tests.harness.forms import wav
from tests.harness.gateway import GatewayProcess
from tests.harness.recorder import Heard, Recorder
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

PICTURE = ("a.png", b"\x89PNG\r\n\x1a\n a picture\r\n--", "image/png")


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with connect(gateway) as found:
        yield found


def the_charge(gateway: GatewayProcess, sandbox: SandboxProcess) -> Row:
    """The one call, charged as the provider billed it."""
    (line,) = sandbox.settled()
    return the_row(gateway, line)


@pytest.mark.parametrize("quality", ["low", "high"])
def test_images_that_are_billed_by_tokens(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, quality: Any
) -> None:
    answer = client.images.generate(model="sandbox-image", prompt="A hold of a ship.", n=2, quality=quality)
    assert answer.data is not None
    assert len(answer.data) == 2
    assert answer.usage is not None
    row = the_charge(gateway, sandbox)
    assert row["output_tokens"] == answer.usage.output_tokens == {"low": 544, "high": 8_320}[quality]
    assert nanos(row["held_usd"]) >= 2 * 4_160 * 40_000, "all that the model can make of two images"


@pytest.mark.parametrize(
    ("quality", "size", "usd"), [("standard", "1024x1024", 4), ("hd", "1024x1792", 12), (None, None, 4)]
)
def test_images_that_are_billed_each_by_quality_and_size(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, quality: Any, size: Any, usd: int
) -> None:
    given = {name: value for name, value in (("quality", quality), ("size", size)) if value is not None}
    client.images.generate(model="sandbox-picture", prompt="A hold.", n=3, **given)
    row = the_charge(gateway, sandbox)
    assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) == 3 * usd * 10_000_000


def test_images_that_are_given_come_whole_and_are_counted(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    client.images.edit(model="sandbox-image", image=[PICTURE, PICTURE], mask=PICTURE, prompt="A hold.", quality="low")
    row = the_charge(gateway, sandbox)
    assert row["input_tokens"] >= 3 * 400
    sandbox.reset_bill()
    with pytest.deprecated_call():  # by OpenAI
        client.images.create_variation(model="sandbox-picture", image=PICTURE)
    assert nanos(the_charge(gateway, sandbox)["charge_usd"]) == 40_000_000


@pytest.mark.parametrize("edit", [False, True])
def test_a_stream_of_an_image_is_charged_with_its_partial_ones(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, edit: bool
) -> None:
    given: Any = {"model": "sandbox-image", "prompt": "A hold.", "quality": "low", "stream": True, "partial_images": 2}
    act: Any = client.images.edit if edit else client.images.generate
    kinds = [event.type.rpartition(".")[2] for event in act(**given, **({"image": PICTURE} if edit else {}))]
    assert kinds == ["partial_image", "partial_image", "completed"]
    assert the_charge(gateway, sandbox)["output_tokens"] == 272 + 200


def test_speech_that_is_billed_by_characters(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    text = "Grüße aus 東京: " * 20
    with client.audio.speech.with_streaming_response.create(
        model="sandbox-speaker", voice="alloy", input=text
    ) as heard:
        assert heard.headers["content-type"] == "audio/mpeg"
        sound = heard.read()
    assert sound == b"ID3" + bytes(16 * len(text)), "byte for byte"
    row = the_charge(gateway, sandbox)
    assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) == 15_000 * len(text)
    (line,) = gateway.admin("GET", f"/calls/{row['id']}/explanation")["price_lines"]
    assert (line["meter"], line["tokens"]) == ("characters", len(text))


@pytest.mark.parametrize("whole", [True, False])
def test_sound_goes_on_as_it_comes(tmp_path: Path, whole: bool) -> None:
    """The caller hears its beginning before its end is made. Sound that breaks off ends in an error, not in words."""
    heard_some = threading.Event()

    def sound(_: Heard) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nID3a\r\n"
        assert heard_some.wait(60)
        if not whole:
            raise OSError("it hangs up")
        yield b"2\r\nbc\r\n0\r\n\r\n"

    known = registry([budget("all", "9.00 USD")])
    known["prices"] += media_prices()
    with Recorder() as upstream, GatewayProcess(tmp_path, process(upstream.url), known) as gateway:
        upstream.answer = sound
        with (
            connect(gateway) as client,
            client.audio.speech.with_streaming_response.create(
                model="sandbox-speaker", voice="alloy", input="Of holds."
            ) as said,
        ):
            pieces = said.iter_bytes()
            assert next(pieces) == b"ID3a"
            heard_some.set()
            if whole:
                assert b"".join(pieces) == b"bc"
            else:
                with pytest.raises(httpx2.RemoteProtocolError):
                    b"".join(pieces)
        row = settled_row(gateway, said.headers["x-comptroller-call-id"])
        assert (row["outcome"], row["presumed"]) == (("completed", False) if whole else ("provider_cut", True))
        assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) == 15_000 * len("Of holds.")


@pytest.mark.parametrize("stream_format", ["sse", "audio"])
def test_speech_that_is_billed_by_tokens_is_known_where_it_says_so(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, stream_format: Any
) -> None:
    """Plain sound does not say it: all that the model can make is presumed."""
    client.audio.speech.create(model="sandbox-voice", voice="alloy", input="Of holds.", stream_format=stream_format)
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert row["presumed"] is (stream_format == "audio")
    if stream_format == "sse":
        assert nanos(row["charge_usd"]) == int(line["charge_nanos"])
    else:
        assert int(line["charge_nanos"]) <= nanos(row["charge_usd"]) == nanos(row["held_usd"])


@pytest.mark.parametrize("translate", [False, True])
def test_sound_that_is_billed_by_its_length(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, translate: bool
) -> None:
    given: Any = {"model": "sandbox-listener", "file": ("a.wav", wav(37.5))}
    if translate:
        with pytest.deprecated_call():  # by OpenAI
            answer: Any = client.audio.translations.create(**given)
    else:
        answer = client.audio.transcriptions.create(**given)
    assert answer.text == "There are 38 seconds of sound."
    row = the_charge(gateway, sandbox)
    assert nanos(row["charge_usd"]) == 38 * 100_000
    assert nanos(row["held_usd"]) <= 40 * 100_000, "a WAV file is bounded closely"


@pytest.mark.parametrize("stream", [False, True])
def test_sound_that_is_billed_by_tokens(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    """Its length does not matter: the context window bounds it, whatever the format."""
    given: Any = {"model": "sandbox-hearing", "file": ("a.ogg", b"OggS" + bytes(9_000)), "prompt": "Of holds."}
    answer = client.audio.transcriptions.create(**given, stream=stream)
    text = answer.text if not stream else list(answer)[-1].text
    assert "seconds of sound" in text
    row = the_charge(gateway, sandbox)
    assert row["input_tokens"] == 30 + 3


def test_a_text_says_nothing_of_what_it_used(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    text: Any = client.audio.transcriptions.create(
        model="sandbox-listener", file=("a.wav", wav(20)), response_format="text"
    )
    assert text == "There are 20 seconds of sound."
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert row["presumed"]
    assert int(line["charge_nanos"]) <= nanos(row["charge_usd"]) <= int(line["charge_nanos"]) + 200_000


def test_sound_of_unknown_length_is_refused_where_length_is_billed(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(model="sandbox-listener", file=("a.ogg", b"OggS" + bytes(9_000)))
    assert (refused.value.status_code, refused.value.code) == (402, "estimate_unbounded")
    assert "WAV" in str(refused.value)
    assert sandbox.requests() == []


@pytest.mark.parametrize(
    ("model", "missing"),
    [("sandbox-large-2026-01-01", None), ("sandbox-nothing", "its tokens"), ("sandbox-speaker", "`image`")],
)
def test_an_image_without_a_price_is_refused_and_says_which_one_is_missing(
    client: openai.OpenAI, sandbox: SandboxProcess, model: str, missing: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.images.generate(model=model, prompt="A hold.")
    if missing is None:
        assert refused.value.status_code == 404, "the provider knows no image of that model, and nothing is charged"
    else:
        assert (refused.value.status_code, refused.value.code) == (402, "price_unknown")
        assert missing in str(refused.value)
        assert sandbox.requests() == []


def test_an_image_too_dear_is_refused_whole(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Nothing in the request could make it cheaper, so nobody is told to ask for fewer tokens."""
    with connect(gateway, "agent/poor") as poor, pytest.raises(openai.APIStatusError) as refused:
        poor.images.generate(model="sandbox-image", prompt="A hold.", quality="low")
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exhausted")
    assert "output tokens" not in str(refused.value)
    assert sandbox.requests() == []


@pytest.mark.parametrize("fault", ["no_usage", "server_error_billed", "cut", "malformed_json"])
def test_an_image_that_fails_is_never_free(
    client: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, fault: str
) -> None:
    with suppress(openai.APIStatusError):
        client.images.generate(model="sandbox-image", prompt="A hold.", extra_body={"sandbox": {"fault": fault}})
    (line,) = sandbox.settled()
    row = settled_row(gateway, line["client_request_id"].removesuffix(".1"))
    assert row["presumed"]
    assert 0 < int(line["charge_nanos"]) <= nanos(row["charge_usd"])
