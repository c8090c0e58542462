"""The names of a request's fields: each is known for what it means, or what it holds is looked into."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from comptroller.wire.body import shown
from comptroller.wire.checks import Invalid

CASE = "Write it in lower case: some servers read other spellings as the same field, and others do not."


class ServerSide(msgspec.Struct, frozen=True):
    """A switch that leads out of the body. `fees`: it is billed beside the tokens of this answer, or at the price of
    another model, or in rounds that nothing limits.
    """

    words: str
    who: str
    fees: bool


class FieldNames:
    """The fields of one API."""

    def __init__(
        self,
        plain: frozenset[str],
        server_side: Mapping[str, ServerSide],
        other_names: Mapping[str, str],
        more_answers: Collection[str] = (),
    ) -> None:
        """`plain`: they never lead out of the body. `other_names`: by which some servers take a field that must bind.

        `more_answers`: by which some servers make several answers where this API makes one.
        """
        self.plain = plain
        self._server_side = server_side
        self._other_names = other_names
        self._more_answers = frozenset(more_answers)
        self._known = plain | server_side.keys() | other_names.keys() | self._more_answers

    def switches(self, request: Mapping[str, object], read_unknown: Callable[[object], None]) -> list[ServerSide]:
        """The switches that are on. What nobody knows goes to `read_unknown`. Raises Invalid."""
        found: list[ServerSide] = []
        if request.keys() <= self.plain:
            return found
        for name, value in request.items():
            if name in self.plain:
                continue
            if name in self._server_side:
                if value is not None and value is not False and value != []:
                    found.append(self._server_side[name])
            elif name in self._other_names:
                if value is not None:
                    usual = self._other_names[name]
                    raise Invalid(f"`{name}` is another name of `{usual}`, which must bind.", name, f"Send `{usual}`.")
            elif name in self._more_answers:
                if value not in (None, 1):
                    raise Invalid(
                        f"`{name}` is not a field of this API, which makes one answer.", name, "Leave it out."
                    )
            else:
                self.check_spelling(name)
                read_unknown({name: value})  # its name may say what its value is
        return found

    def check_spelling(self, name: str) -> None:
        """Raise Invalid for a name that some servers read as that of a known field."""
        if name not in self._known and name.casefold() in self._known:
            raise Invalid(f"The field {shown(name)} is not written as the API writes it.", name[:64], CASE)
