"""What changed while no gateway ran: the settings and the keys of providers, which no act of ours changes.

Neither stands in the store, and no key may. What a start finds is compared with the newest event of the same
thing, and where it differs that is a new event: digests before and after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from comptroller.control.office import Office
from comptroller.flow.records import Change

_ACTOR = "serve"
_SETTINGS = "settings"
_PROVIDER_KEY = "provider_key"
_MOST = 10_000  # events of keys that are looked at: of a hundred providers, a hundred changes each


async def record_start(office: Office, settings_digest: str, key_digests: Mapping[str, str]) -> None:
    """Write down what is different since the last start. Raises LedgerUnavailableError.

    `settings_digest`: of the effective settings, in which no secret stands; `key_digests`: keyed, by provider.
    A provider whose key is gone has no entry.
    """
    await office.ledger.fold()
    last_settings = _newest(await office.ledger.changes(1, _SETTINGS, _SETTINGS))
    last_keys = _newest(await office.ledger.changes(_MOST, _PROVIDER_KEY))
    events = [
        *_differences(office, _SETTINGS, last_settings, {_SETTINGS: settings_digest}),
        *_differences(office, _PROVIDER_KEY, last_keys, key_digests),
    ]
    await asyncio.gather(*(office.gate.journal.commit(event) for event in events))


def _newest(changes: Iterable[Change]) -> dict[str, str]:
    """What each key came to; `changes` are newest first."""
    found: dict[str, str] = {}
    for change in changes:
        found.setdefault(change.key, change.after)
    return found


def _differences(office: Office, noun: str, last: Mapping[str, str], digests: Mapping[str, str]) -> list[Change]:
    now = {key: msgspec.json.encode({"digest": digest}).decode() for key, digest in digests.items()}
    return [
        Change(
            at_ns=office.gate.clock.now_ns(),
            actor=_ACTOR,
            verb="change" if key in last else "start",
            noun=noun,
            key=key,
            before=last.get(key, ""),
            after=now.get(key, ""),
        )
        for key in (*now, *(key for key in last if key not in now))
        if last.get(key, "") != now.get(key, "")
    ]
