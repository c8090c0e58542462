"""SimHash: 64 bits that differ in few places where two texts differ in few words.

M. Charikar, Similarity estimation techniques from rounding algorithms (2002); 64 bits and a distance of a few of them
as G. Manku and others, Detecting near-duplicates for web crawling (2007).
"""

from __future__ import annotations

from zlib import crc32

ALIKE_BITS = 6  # two texts of that distance or less are near matches (reference: none of 7,769 different prompts were)
_WORDS = 3  # in a row are one feature
_FEATURES = 127  # those with the smallest hashes, mostly the same of two texts that are nearly so; a count fits a byte
_EACH_END = 4_096  # characters that are looked at
_SPREAD = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio, odd
_MASK = 2**64 - 1
# A byte with each of its bits in a byte of its own: adding these up counts all eight at once.
_LANES = tuple(sum((byte >> bit & 1) << (8 * bit) for bit in range(8)) for byte in range(256))


def simhash(text: str) -> int:
    """The fingerprint of a text, of its first and last 4,096 characters if it is longer."""
    if len(text) > 2 * _EACH_END:
        text = f"{text[:_EACH_END]} {text[-_EACH_END:]}"
    hashes = sorted({_hash(each) for each in _features(text.lower().split())})[:_FEATURES]
    half, column = len(hashes) // 2, b"".join(each.to_bytes(8, "little") for each in hashes)
    found = 0
    for byte in range(8):
        counts = sum(map(_LANES.__getitem__, column[byte::8])).to_bytes(8, "little")
        found |= sum(1 << bit for bit, count in enumerate(counts) if count > half) << (8 * byte)
    return found


def distance(one: int, other: int) -> int:
    """In how many of their 64 bits two fingerprints differ."""
    return (one ^ other).bit_count()


def _features(words: list[str]) -> list[str]:
    if len(words) < _WORDS:
        return [" ".join(words)]
    return [" ".join(each) for each in zip(words, words[1:], words[2:], strict=False)]


def _hash(feature: str) -> int:
    """64 bits of a feature, the same in every process."""
    spread = crc32(feature.encode("utf-8", "surrogatepass")) * _SPREAD & _MASK
    spread = (spread ^ spread >> 29) * _SPREAD & _MASK
    return spread ^ spread >> 32
