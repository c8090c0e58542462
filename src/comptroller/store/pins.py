"""Pins in the store, and the definitions that they are about: the accepted one and the one that is shown, no others."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Column, Table, Text, and_, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.tool.pin import Pin, restored
from comptroller.flow.records import Change, PinChanged
from comptroller.store import schema
from comptroller.store.sql import Many, run

PINS = Table(
    "tool_pins",  # how each tool of each MCP server stands
    schema.metadata,
    Column("server", Text, primary_key=True),
    Column("tool", Text, primary_key=True),  # its own name
    Column("body", Text, nullable=False),  # JSON: core/tool/pin.py
)

DEFINITIONS = Table(
    "tool_definitions",  # what pins name by a digest
    schema.metadata,
    Column("server", Text, primary_key=True),
    Column("tool", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("text", Text, nullable=False),  # JSON in one spelling: core/tool/definition.py
)
_encode = msgspec.json.Encoder(order="deterministic").encode
_pin = msgspec.json.Decoder(Pin)


def _set_pin() -> Many:
    statement = upsert(PINS)
    body = {"body": statement.excluded.body}
    return Many(statement.on_conflict_do_update(index_elements=["server", "tool"], set_=body))


def _forget_others() -> Many:
    table = DEFINITIONS
    others = and_(table.c.digest != bindparam("accepted"), table.c.digest != bindparam("shown"))
    of_tool = and_(table.c.server == bindparam("of_server"), table.c.tool == bindparam("of_tool"))
    return Many(delete(table).where(of_tool, others))


_SET_PIN = _set_pin()
_ADD_DEFINITION = Many(upsert(DEFINITIONS).on_conflict_do_nothing())
_FORGET_OTHERS = _forget_others()


def write(connection: sqlite3.Connection, changes: Iterable[PinChanged]) -> None:
    """Write how each pin stands, and the definitions that it names; one after the other, and others are forgotten."""
    for each in changes:
        pin, key = each.pin, (each.pin.server, each.pin.tool)
        _SET_PIN.run_values(connection, [(*key, _encode(pin).decode())])
        if each.text:
            _ADD_DEFINITION.run_values(connection, [(*key, pin.shown, each.text)])
        _FORGET_OTHERS.run_values(connection, [(*key, pin.digest, pin.shown)])


class Known(msgspec.Struct, frozen=True):
    """Every pin of a store, and the texts of the definitions that they name, by (server, tool, digest)."""

    pins: Mapping[tuple[str, str], Pin] = {}
    texts: Mapping[tuple[str, str, str], str] = {}


def known(connection: sqlite3.Connection, unfolded: Iterable[PinChanged] = ()) -> Known:
    """`unfolded`: what is in the journal, and not in the tables."""
    pins = {(pin.server, pin.tool): pin for pin in all_pins(connection)}
    table = DEFINITIONS
    rows = run(connection, select(table.c.server, table.c.tool, table.c.digest, table.c.text))
    texts = {(server, tool, digest): text for server, tool, digest, text in rows}
    for each in unfolded:
        key = (each.pin.server, each.pin.tool)
        pins[key] = each.pin
        if each.text:
            texts[*key, each.pin.shown] = each.text
    return Known(pins, texts)


def carry(connection: sqlite3.Connection, present: Known, at_ns: int, reason: str) -> Sequence[Change]:
    """Write the pins of another store as a restore leaves them; the events of those that were not so here."""
    here = {(pin.server, pin.tool): pin for pin in all_pins(connection)}
    after = {key: restored(here.get(key), pin) for key, pin in present.pins.items()}
    others = {key: pin for key, pin in after.items() if here.get(key) != pin}
    texts = present.texts
    write(
        connection, [PinChanged(at_ns, "restore", pin, texts.get((*key, pin.shown), "")) for key, pin in others.items()]
    )
    return [Change(at_ns, "restore", "carry", "tool", pin.name, reason) for pin in others.values()]


def all_pins(connection: sqlite3.Connection) -> Sequence[Pin]:
    """By their names. There are at most a few hundred of each server (flow/mcp/pins.py)."""
    wanted = select(PINS.c.body).where(PINS.c.server > "").order_by(PINS.c.server, PINS.c.tool)
    return [_pin.decode(body) for (body,) in run(connection, wanted)]


def definitions(connection: sqlite3.Connection, server: str, tool: str) -> Mapping[str, str]:
    """The texts of the definitions that the pin of this tool names, by their digests."""
    table = DEFINITIONS
    wanted = select(table.c.digest, table.c.text).where(table.c.server == server, table.c.tool == tool)
    return dict(run(connection, wanted).fetchall())
