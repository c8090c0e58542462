"""The sandbox's own tokenizer: deterministic, and never more tokens than UTF-8 bytes.

A token is up to four characters of a word with the whitespace before it; whitespace at the end of the
text is one token. Every token covers at least one character, hence at least one byte.
"""

from __future__ import annotations

import re

# Possessive: whitespace is never given back, so a megabyte of blanks costs one pass.
_PIECE = re.compile(r"\s*+\S{1,4}|\s++")


def split_tokens(text: str) -> list[str]:
    """Cut a text into its tokens; joined, they give the text back."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Count the tokens of a text: at most its UTF-8 bytes."""
    return len(_PIECE.findall(text))
