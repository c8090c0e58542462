"""The registry in the store: entries that are added, changed, disabled and enabled, and never deleted."""

from __future__ import annotations

import sqlite3

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.control.interfaces import Gap, Installation, RegistryState
from comptroller.core.registry.entries import Entry, EntryKey, EntryKind, StoredEntry
from comptroller.store import identity_requests, schema, tables
from comptroller.store.folder import get_meta, raise_meta, set_meta
from comptroller.store.sql import Many, run

_ENTRIES, _VERSIONS = schema.registry_entries, schema.registry_versions


class RegistryMovedError(Exception):
    """The version to be installed does not follow the installed one: somebody else has applied in between."""


def _set_entry() -> Many:
    statement = upsert(_ENTRIES)
    new = {name: statement.excluded[name] for name in ("body", "disabled", "version")}
    return Many(statement.on_conflict_do_update(index_elements=["kind", "key"], set_=new))


_SET_ENTRY = _set_entry()
_NEW_VERSION = Many(insert(_VERSIONS))
_entry = msgspec.json.Decoder(Entry)


def install(connection: sqlite3.Connection, installation: Installation) -> None:
    """Write one version: its entries, the event of each, its document, and the opening balances.

    Raises RegistryMovedError, and has then written nothing.
    """
    version = get_meta(connection, "registry_version")
    if installation.version != version + 1:
        raise RegistryMovedError(
            f"version {version} of the registry is installed; {installation.version} cannot follow it"
        )
    _SET_ENTRY.run_values(
        connection,
        [
            (kind, key, msgspec.json.encode(entry.value).decode(), int(entry.disabled), installation.version)
            for (kind, key), entry in installation.entries.items()
        ],
    )
    written = (installation.version, installation.at_ns, installation.actor, installation.document)
    _NEW_VERSION.run_values(connection, [written])
    tables.add_changes(connection, installation.changes)
    if installation.decided is not None:
        identity_requests.write_request(connection, installation.decided, ())
    tables.add_to_balances(connection, installation.opening)
    set_meta(connection, "registry_version", installation.version)
    raise_meta(connection, "last_ns", installation.at_ns)


def registry_state(connection: sqlite3.Connection) -> RegistryState:
    """The registry as it is installed."""
    columns = (_ENTRIES.c.kind, _ENTRIES.c.key, _ENTRIES.c.body, _ENTRIES.c.disabled, _VERSIONS.c.at_ns)
    wanted = select(*columns).join(_VERSIONS, _VERSIONS.c.version == _ENTRIES.c.version)
    entries: dict[EntryKey, StoredEntry] = {}
    for kind, key, body, disabled, at_ns in run(connection, wanted):
        entries[(msgspec.convert(kind, EntryKind), key)] = StoredEntry(_entry.decode(body), bool(disabled), at_ns)
    return RegistryState(get_meta(connection, "registry_version"), entries, _gap(connection))


def _gap(connection: sqlite3.Connection) -> Gap | None:
    until_ns = get_meta(connection, "gap_until_ns")
    return Gap(get_meta(connection, "gap_from_ns"), until_ns) if until_ns else None
