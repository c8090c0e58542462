"""How long sound can be: never shorter than it is."""

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.wire.sound import most_ms


def wav(seconds: float, per_s: int = 8_000, channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writing:
        writing.setnchannels(channels)
        writing.setsampwidth(width)
        writing.setframerate(per_s)
        writing.writeframes(bytes(round(seconds * per_s) * channels * width))
    return file.getvalue()


@given(st.integers(0, 90), st.sampled_from([1_000, 8_000, 44_100]), st.integers(1, 3), st.integers(1, 4))
def test_a_wav_file_is_bounded_closely_and_never_below(seconds: int, per_s: int, channels: int, width: int) -> None:
    found = most_ms(wav(seconds, per_s, channels, width))
    assert found is not None
    assert max(10_000, seconds * 1_000) <= found <= max(10_000, seconds * 1_000 + 2_000)


def test_chunks_before_the_format_are_passed_over() -> None:
    plain = wav(20)
    assert most_ms(plain[:12] + b"LIST\x03\x00\x00\x00abc\x00" + plain[12:]) is not None


FRAME = bytes((0xFF, 0xFB, 0x90, 0x00))


@pytest.mark.parametrize(
    "head", [FRAME, b"ID3\x04\x00\x00\x00\x00\x00\x05abcde" + FRAME, bytes((0xFF, 0xE3, 0x10, 0x00))]
)
def test_an_mp3_has_eight_thousand_bits_a_second_at_least(head: bytes) -> None:
    data = head + bytes(60_000)
    assert most_ms(data) == (-(-len(data) // 1_000) + 1) * 1_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF",
        b"OggS" + bytes(100),
        b"fLaC" + bytes(100),
        b"\x1aE\xdf\xa3" + bytes(100),
        b"\x00\x00\x00\x20ftypM4A " + bytes(100),
        b"RIFF\x00\x00\x00\x00AVI " + bytes(100),
        wav(1).replace(b"\x01\x00\x01\x00", b"\x11\x00\x01\x00", 1),  # ADPCM: compressed
        wav(1).replace(b"fmt ", b"xxxx", 1),
        wav(1)[:20],
        FRAME[:2] + bytes((0x00, 0x00)) + bytes(100),  # free format: any rate
        FRAME[:2] + bytes((0xF0, 0x00)) + bytes(100),
        bytes((0xFF, 0xF1, 0x50, 0x80)) + bytes(100),  # AAC
        b"ID3\x04\x00\x00\x00\x00\x00\x05abcdefLaC" + bytes(100),  # a tag before something else
        b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f",
    ],
)
def test_what_makes_hours_out_of_few_bytes_has_no_bound(data: bytes) -> None:
    assert most_ms(data) is None


def test_the_field_that_promises_less_counts() -> None:
    """A header whose fields contradict each other is read in the way that makes it longest."""
    plain = wav(20)
    halved = plain[:32] + (1).to_bytes(2, "little") + plain[34:]  # a block of one byte in place of two
    whole, longer = most_ms(plain), most_ms(halved)
    assert whole is not None
    assert longer is not None
    assert longer >= 2 * whole - 4_000


@given(st.binary(max_size=100))
def test_nonsense_is_no_error(data: bytes) -> None:
    for each in (data, b"RIFF" + data, b"RIFFxxxxWAVE" + data, b"ID3" + data):
        most_ms(each)
