"""How long a piece of sound can be at most, by its bytes alone.

The header of a WAV file says how many bytes a second has. An MP3 has at least 8,000 bits a second in every frame
(ISO/IEC 13818-3, layer III). Other formats make hours out of few bytes: of those nobody can tell.
"""

from __future__ import annotations

_MP3_BYTES_PER_S = 1_000  # 8 kbit/s, the lowest rate there is
_LEAST_MS = 10_000  # that some providers bill for anything shorter
_PLAIN_CODINGS = frozenset({1, 3})  # PCM in whole numbers and in floating point
_EXTENSIBLE = 0xFFFE
_FORMAT_BYTES = 16


def most_ms(data: bytes) -> int | None:
    """Milliseconds that it cannot be longer than, in whole seconds as they are billed; None where that is not known."""
    bytes_per_s = _wav_bytes_per_s(data) if data.startswith(b"RIFF") else _MP3_BYTES_PER_S if _is_mp3(data) else 0
    if not bytes_per_s:
        return None
    return max(_LEAST_MS, (-(-len(data) // bytes_per_s) + 1) * 1_000)


def _wav_bytes_per_s(data: bytes) -> int:
    """By the one format chunk of a WAV file that is not compressed; 0 for any other."""
    if data[8:12] != b"WAVE":
        return 0
    at = 12
    while at + 8 + _FORMAT_BYTES <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"fmt ":
            return _bytes_per_s(data[at + 8 : at + 8 + size])
        if data[at : at + 4] == b"data":
            return 0
        at += 8 + size + size % 2
    return 0


def _bytes_per_s(said: bytes) -> int:
    """The fewest that any field of a format chunk lets one expect."""
    if len(said) < _FORMAT_BYTES:
        return 0
    coding, channels, per_s, block, bits = (
        int.from_bytes(said[start:end], "little") for start, end in ((0, 2), (2, 4), (4, 8), (12, 14), (14, 16))
    )
    if coding == _EXTENSIBLE:
        coding = int.from_bytes(said[24:26], "little")
    if coding not in _PLAIN_CODINGS:
        return 0
    return per_s * min(block, channels * bits // 8)


def _is_mp3(data: bytes) -> bool:
    """Whether the first frame, after a tag where there is one, is of layer III at a rate that its header names."""
    at = 0
    if data.startswith(b"ID3") and len(data) > 10:
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    layer, rate = head[1] >> 1 & 3, head[2] >> 4
    return layer == 1 and rate not in {0, 15}
