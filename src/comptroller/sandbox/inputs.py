"""What older APIs take for text: one, several, or the ids of tokens in their place."""

from __future__ import annotations

Inputs = str | list[str | int | list[int]]
Input = str | list[int]


def each_of(inputs: Inputs) -> list[Input]:
    """Each of them, as text or as the ids of tokens."""
    if isinstance(inputs, str):
        return [inputs]
    ids = [each for each in inputs if isinstance(each, int)]
    return [ids] if ids else [each for each in inputs if not isinstance(each, int)]
