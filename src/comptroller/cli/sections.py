"""The list of commands in `comptroller --help`: by what they are for, and what is used most first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperGroup


def in_sections(sections: Mapping[str, Sequence[str]]) -> type[TyperGroup]:
    """A group whose help lists its commands under these headings, in this order."""

    class Sections(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [name for names in sections.values() for name in names]

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            longest = max(map(len, self.commands))
            for heading, names in sections.items():
                with formatter.section(heading):
                    wide = formatter.width - longest - 6
                    rows = [(name.ljust(longest), self.commands[name].get_short_help_str(wide)) for name in names]
                    formatter.write_dl(rows)

    return Sections
