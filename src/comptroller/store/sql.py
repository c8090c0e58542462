"""How a SQLAlchemy Core statement is run: written out in the dialect, then plain on the driver.

The tables know no types that need conversion, so nothing of SQLAlchemy stands between a row and the driver
while calls are recorded. For another database, this is the place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from operator import attrgetter

from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

Value = str | int | bytes | None

_DIALECT = sqlite.dialect()


def run(connection: sqlite3.Connection, statement: ClauseElement) -> sqlite3.Cursor:
    """Run a statement with the values it carries."""
    sql, names, values = _written(statement)
    return connection.execute(sql, [values[name] for name in names])


def text_of(statement: ClauseElement) -> str:
    """The SQL of a statement, for values in its order."""
    return _written(statement)[0]


class Many:
    """A statement that is run once for each of many rows.

    Its parameters are attributes of the row, under the names of `renamed` where those differ.
    """

    def __init__(self, statement: ClauseElement, **renamed: str) -> None:
        self._sql, names, _ = _written(statement)
        self._values = attrgetter(*(renamed.get(name, name) for name in names))

    def run(self, connection: sqlite3.Connection, rows: Iterable[object]) -> None:
        connection.executemany(self._sql, map(self._values, rows))

    def run_values(self, connection: sqlite3.Connection, rows: Iterable[Sequence[Value]]) -> None:
        """The same with the values themselves, in the order of the statement."""
        connection.executemany(self._sql, rows)


def _written(statement: ClauseElement) -> tuple[str, Sequence[str], dict[str, Value]]:
    compiled = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    positions: Sequence[str] = getattr(compiled, "positiontup", None) or ()
    return str(compiled), positions, dict(compiled.params or {})
