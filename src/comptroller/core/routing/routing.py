"""What a registry says of routing: other names for models, the ranks of classes, quality floors, and the routes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.routing.route import Route


class Routing(msgspec.Struct, frozen=True):
    """All of it. The classes stand in their order, the least able first; a class that is not among them has no rank."""

    aliases: Mapping[str, str] = {}  # a name that callers may ask for -> a model or a class
    order: tuple[str, ...] = ()
    floors: Mapping[str, str] = {}  # task type -> the least able class that is good enough for it
    routes: tuple[Route, ...] = ()  # the first one that applies wins

    def target(self, name: str) -> str:
        """The model or class behind a name that may be an alias."""
        return self.aliases.get(name, name)

    def rank(self, model_class: str | None) -> int | None:
        """The place of a class in the order, from 0; None: it has none."""
        return self.order.index(model_class) if model_class in self.order else None

    def floor(self, task_type: str | None) -> str | None:
        """The floor of a task type; None: it has none."""
        return self.floors.get(task_type) if task_type is not None else None

    def is_below_floor(self, task_type: str | None, model_class: str | None) -> bool:
        """Whether no route may lead there: what has no rank is below every floor."""
        floor = self.rank(self.floor(task_type))
        rank = self.rank(model_class)
        return floor is not None and (rank is None or rank < floor)

    def is_above_floor(self, task_type: str | None, model_class: str | None) -> bool:
        """Whether a less able class would have been good enough."""
        floor, rank = self.rank(self.floor(task_type)), self.rank(model_class)
        return floor is not None and rank is not None and rank > floor

    def leads_up(self, model_class: str | None, to_class: str | None) -> bool:
        """Whether the second class is ranked above the first one; what has no rank is above nothing."""
        before, after = self.rank(model_class), self.rank(to_class)
        return before is not None and after is not None and after > before
