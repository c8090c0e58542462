"""What changed between two starts stands among the events: settings and provider keys, as digests."""

import json
from pathlib import Path

import pytest

from comptroller.control.process_changes import record_start
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import Broken, House, opened

Seen = tuple[str, str, str, object, object]


async def seen(house: House) -> list[Seen]:
    """Events of starts, oldest first."""
    await house.store.fold()
    oldest_first = [each for each in await house.store.changes(100) if each.noun in {"settings", "provider_key"}][::-1]
    return [
        (each.verb, each.noun, each.key, _digest(each.before), _digest(each.after))
        for each in sorted(oldest_first, key=lambda each: each.noun)
    ]


def _digest(written: str) -> object:
    return json.loads(written)["digest"] if written else None


async def test_only_what_is_different_is_written(tmp_path: Path) -> None:
    first: list[Seen] = [
        ("start", "provider_key", "openai", None, "k1"),
        ("start", "provider_key", "local", None, "k2"),
        ("start", "settings", "settings", None, "s1"),
    ]
    async with opened(tmp_path) as house:
        await record_start(house.office, "s1", {"openai": "k1", "local": "k2"})
        assert await seen(house) == first
    async with opened(tmp_path) as house:
        await record_start(house.office, "s1", {"local": "k2", "openai": "k1"})
        assert await seen(house) == first
        await record_start(house.office, "s2", {"openai": "k3"})
        await record_start(house.office, "s2", {"openai": "k3"})
        assert await seen(house) == [
            *first[:2],
            ("change", "provider_key", "openai", "k1", "k3"),
            ("change", "provider_key", "local", "k2", None),
            first[2],
            ("change", "settings", "settings", "s1", "s2"),
        ]
        await record_start(house.office, "s2", {"openai": "k3", "local": "k2"})
        assert ("change", "provider_key", "local", None, "k2") in await seen(house)


async def test_a_start_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.gate.journal = Broken(house.store.journal, LedgerUnavailableError("disk full"))
        with pytest.raises(LedgerUnavailableError, match="disk full"):
            await record_start(house.office, "s1", {})
