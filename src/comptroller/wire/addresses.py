"""Which texts are addresses: a field or part that we do not know may make a provider fetch what one points at."""

from __future__ import annotations

_SCHEMES = ("http:", "https:", "file:", "ftp:", "gs:", "s3:", "data:", "blob:")
_LONGEST_SCHEME = 6


def is_address(text: str) -> bool:
    """Whether a text begins as an address does, whatever its case and white space."""
    return text.lstrip()[:_LONGEST_SCHEME].lower().startswith(_SCHEMES)
