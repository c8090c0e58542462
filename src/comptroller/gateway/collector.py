"""Python's collector, which is for nothing but rings of objects: when it looks for them, and when it does not."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

_YOUNG_MOST = 20_000  # containers made and not yet let go; a hundred calls in flight have about so many


@contextmanager
def at_rest() -> Generator[None]:
    """No looking while much is built and nothing let go: it was a third of a start with many identities."""
    works = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if works:
            gc.enable()


def calm() -> None:
    """Look seldom, and never among the objects of the start.

    A call leaves no ring (tests/end_to_end/test_rings.py), and looking for them was a fifth of what it cost.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_MOST, 20, 50)
