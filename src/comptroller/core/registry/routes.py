"""[aliases], [classes], [task_types] and [[routes]]: reading them, what they may name, and the routing they make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast, get_args

from comptroller.core.budget.scope import Attribute
from comptroller.core.policy.remedy import Remedy
from comptroller.core.policy.targets import is_name, unreachable_route
from comptroller.core.problem import Fault, Problem, did_you_mean, join
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entries, Entry, EntryKey, StoredEntry, scope_of, string, strings
from comptroller.core.registry.fields import Field
from comptroller.core.registry.policy_files import targets_of
from comptroller.core.routing.route import Conditions, Route, RouteMode
from comptroller.core.routing.routing import Routing

CLASSES: EntryKey = ("classes", "classes")
_PERCENT = re.compile(r"([0-9]{1,3})%", re.ASCII)


def percent(raw: object) -> str:
    """A share such as `20%`, from 1 to 100."""
    match = _PERCENT.fullmatch(raw) if isinstance(raw, str) else None
    if match is None or not 1 <= int(match.group(1)) <= 100:
        raise Fault(f"{raw!r} is not a share.", "Write a whole percentage in quotes, such as '20%'.")
    return f"{int(match.group(1))}%"


_WHEN = (
    Field("budget_below", percent),
    Field("input_tokens_over", fields.count(0)),
    Field("input_tokens_under", fields.count(1)),
)


def _when(raw: object) -> dict[str, list[str]]:
    """As a scope is kept: a list of one text under each name."""
    problems: list[Problem] = []
    entry = fields.read_table("", raw, _WHEN, problems)
    if problems:
        raise Fault(" ".join(filter(None, (problems[0].where, problems[0].sentence))), problems[0].hint)
    if not entry:
        raise Fault("Conditions with nothing in them are not clear.", "Leave `when` out for a route without any.")
    return {name: [str(value)] for name, value in entry.items()}


def _target(raw: object) -> str:
    word = fields.pattern(raw)
    if not is_name(word):
        raise Fault(f"{word!r} is a pattern: there is no one name to send a call to.", "Name a model or a class.")
    return word


CLASSES_FIELDS = (Field("order", fields.names(fields.name), mandatory=True),)
TASK_TYPE = (Field("floor", fields.name, mandatory=True),)


def route_fields(scope: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of a route. `scope`: those of any scope."""
    return (
        Field("name", fields.name, mandatory=True),
        Field("scope", scope, mandatory=True),
        Field("from", fields.names(fields.pattern, ordered=False)),
        Field("to", _target, mandatory=True),
        Field("when", _when),
        Field("mode", fields.choice(*get_args(RouteMode)), "hard"),
    )


def read_aliases(raw: Mapping[str, object], problems: list[Problem]) -> Iterator[tuple[EntryKey, Entry, str]]:
    """[aliases] as entries, each with its place."""
    found = raw.get("aliases", {})
    if not isinstance(found, dict):
        problems.append(Problem("aliases", f"This must be a table of names, not {fields.name_of(found)}."))
        return
    for name, target in cast("dict[str, object]", found).items():
        place = join("aliases", name)
        try:
            if not is_name(str(fields.pattern(name))):
                raise Fault(f"{name!r} is a pattern, and an alias is one name.")
            yield ("alias", name), {"to": _target(target)}, place
        except Fault as fault:
            problems.append(fault.at(place))


def check_routing(entries: Entries, places: Mapping[EntryKey, str]) -> Iterator[Problem]:
    """Every alias, class, floor and route that names nothing, or two things."""
    for (kind, key), entry in entries.items():
        place = places[kind, key]
        match kind:
            case "alias":
                yield from _check_alias(place, key, string(entry, "to"), entries)
            case "classes":
                yield from _check_order(join(place, "order"), strings(entry, "order"), _classes(entries))
            case "task_type":
                yield from _check_floor(join(place, "floor"), string(entry, "floor"), entries)
            case "route":
                yield from _check_route(place, entry, entries)
            case _:
                pass


def routing_warnings(entries: Entries) -> Iterator[Problem]:
    """Classes that no call with a floor is sent to, for want of a rank."""
    floors = [key for kind, key in entries if kind == "task_type"]
    order = strings(entries.get(CLASSES, {}), "order")
    for name in _classes(entries) if floors else ():
        if name not in order:
            yield Problem("classes.order", f"The class {name!r} has no rank in it: it is below every floor.")


def _check_alias(place: str, name: str, target: str, entries: Entries) -> Iterator[Problem]:
    models, classes = _models(entries), _classes(entries)
    if name in models or name in classes:
        what = "model" if name in models else "class"
        yield Problem(place, f"{name!r} is the name of a {what} already.", "Give the alias another name.")
    yield from _check_target(place, target, entries)


def _check_order(place: str, order: Sequence[str], classes: Sequence[str]) -> Iterator[Problem]:
    for name in order:
        if name not in classes:
            yield Problem(place, f"No model is of the class {name!r}.", did_you_mean(name, classes))


def _check_floor(place: str, floor: str, entries: Entries) -> Iterator[Problem]:
    order = strings(entries.get(CLASSES, {}), "order")
    if not order:
        hint = 'Add [classes] with order = ["small", "frontier"], the least able class first.'
        yield Problem(place, "A floor is a rank, and classes have none yet.", hint)
    elif floor not in order:
        yield Problem(place, f"The class {floor!r} has no rank in [classes] order.", did_you_mean(floor, order))


def _check_route(place: str, entry: Entry, entries: Entries) -> Iterator[Problem]:
    models, classes, target = _models(entries), _classes(entries), string(entry, "to")
    if ("alias", target) not in entries:
        yield from _check_target(join(place, "to"), target, entries)
    for name in strings(entry, "from"):
        if name not in classes and (not is_name(name) or not _serves(models, name)):
            known = [*classes, *filter(is_name, models)]
            yield Problem(join(place, "from"), f"There is no model and no class {name!r}.", did_you_mean(name, known))
    when = _conditions(entry)
    over, under = when.input_tokens_over, when.input_tokens_under
    if over is not None and under is not None and under <= over + 1:
        yield Problem(join(place, "when"), f"No input is over {over} and under {under} tokens.")
    if target in strings(entry, "from"):
        yield Problem(join(place, "to"), "This is where its calls come from: it would lead nowhere.")


def _check_target(place: str, target: str, entries: Entries) -> Iterator[Problem]:
    if target:
        yield from unreachable_route(place, Remedy("route", target), targets_of(entries))


def build_routing(
    aliases: Sequence[tuple[str, StoredEntry]],
    classes: Sequence[tuple[str, StoredEntry]],
    task_types: Sequence[tuple[str, StoredEntry]],
    routes: Sequence[tuple[str, StoredEntry]],
) -> Routing:
    """From the entries in force, as they are installed."""
    order = next((strings(each.value, "order") for _, each in classes if not each.disabled), ())
    found = [(key, each.value) for key, each in routes if not each.disabled]
    return Routing(
        aliases={key: string(each.value, "to") for key, each in aliases if not each.disabled},
        order=order,
        floors={key: string(each.value, "floor") for key, each in task_types if not each.disabled},
        routes=tuple(_route(key, entry) for key, entry in sorted(found, key=lambda each: _place_of(each[1]))),
    )


def _route(name: str, entry: Entry) -> Route:
    scope = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    return Route(
        name=name,
        to=string(entry, "to"),
        scope={attribute: tuple(values) for attribute, values in scope.items()},
        sources=strings(entry, "from") if "from" in entry else None,
        when=_conditions(entry),
        mode=cast("RouteMode", string(entry, "mode")),
    )


def _conditions(entry: Entry) -> Conditions:
    found = entry.get("when")
    said = {name: values[0] for name, values in found.items()} if isinstance(found, dict) else {}
    over, under, below = (said.get(name) for name in ("input_tokens_over", "input_tokens_under", "budget_below"))
    return Conditions(
        budget_below_bp=None if below is None else 100 * int(below.removesuffix("%")),
        input_tokens_over=None if over is None else int(over),
        input_tokens_under=None if under is None else int(under),
    )


def _place_of(entry: Entry) -> int:
    """The place of a route among all: the first that applies wins."""
    found = entry.get("place")
    return found if isinstance(found, int) else 0


def _models(entries: Entries) -> Mapping[str, str]:
    return {key: string(entry, "class") for (kind, key), entry in entries.items() if kind == "model"}


def _classes(entries: Entries) -> Sequence[str]:
    return sorted(set(_models(entries).values()) - {""})


def _serves(models: Mapping[str, str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in models)
