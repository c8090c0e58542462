"""docs/reference holds what a person can meet, all of it and nothing else.

A thing counts as documented where its name, in backticks, begins a heading or the first cell of a table row:
`budget_exhausted`, `providers.NAME.base_url`, `comptroller budgets`.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import typer

from tests.architecture.house import ROOT, published

BEGINS = re.compile(r"^(?:#{2,6}|\|)\s*`([^`]+)`", re.MULTILINE)

ADMIN_ROW = re.compile(r"^\| `(\w+ /api/v1/[^`]*)` \|([^|]*)\|", re.MULTILINE)


def documented(page: str) -> set[str]:
    return set(BEGINS.findall((ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")))


def compare(page: str, real: set[str]) -> None:
    written = documented(page)
    assert real, f"nothing found to hold {page} against: this test has gone blind"
    assert not real - written, f"docs/reference/{page} says nothing about {sorted(real - written)}"
    assert not written - real, f"docs/reference/{page} describes what does not exist: {sorted(written - real)}"


def test_every_refusal_is_documented() -> None:
    from comptroller.core.refusal import REFUSALS

    compare("refusals.md", set(REFUSALS))


def test_every_way_to_a_credential_is_documented() -> None:
    from comptroller.control.exchange import ACCEPTED
    from comptroller.core.identity.federation import UNTRUSTED

    page = (ROOT / "docs" / "federation.md").read_text(encoding="utf-8")
    rows = {
        (*(None if cell == "-" else cell.strip("`") for cell in cells), gives)
        for *cells, gives in re.findall(r"^\| (`\S+`) \| (\S+) \| (\S+) \| [^|]+ \| (.+) \|$", page, re.MULTILINE)
    }
    assert rows == {(one.grant, one.subject_token_type, one.actor_token_type, one.gives) for one in ACCEPTED}
    codes = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page.partition("## When a token is refused")[2], re.MULTILINE))
    assert codes == UNTRUSTED


def test_every_no_of_a_delegation_is_documented() -> None:
    from comptroller.core.work.delegation import DELEGATION

    page = (ROOT / "docs" / "sessions.md").read_text(encoding="utf-8")
    assert DELEGATION.items() <= dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", page, re.MULTILINE)).items()


def test_every_setting_is_documented() -> None:
    from comptroller.settings import Settings

    compare("settings.md", set(setting_names(msgspec.inspect.type_info(Settings))))


def test_every_route_is_documented() -> None:
    from comptroller.app import ROUTES
    from comptroller.control import api

    data = {f"{method} {path}" for path, targets in ROUTES.table.items() for method in targets}
    compare("api.md", data | {f"{route.method} {route.whole_path}" for route in api.ROUTES})


def test_every_field_that_the_admin_plane_takes_is_documented() -> None:
    from comptroller.control import api

    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    rows = {name: set(re.findall(r"`(\w+)`", takes)) for name, takes in ADMIN_ROW.findall(page)}
    for route in api.ROUTES:
        kinds = [route.takes.query, *([route.takes.body] if route.takes.body is not None else [])]
        fields = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
        assert rows[f"{route.method} {route.whole_path}"] == fields, f"{route.method} {route.whole_path}"


def test_every_command_is_documented() -> None:
    from comptroller.cli import app

    compare("cli.md", set(command_names(typer.main.get_command(app), "comptroller")))


def test_every_metric_is_documented() -> None:
    from comptroller.telemetry.families import FAMILIES

    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(comptroller_\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    }
    assert rows == {family.name: (family.kind, family.labels) for family in FAMILIES}
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"\bcomptroller_\w+", page)}
    assert asked <= rows.keys(), f"an expression asks for what does not exist: {sorted(asked - rows.keys())}"


def test_every_event_of_the_log_is_documented() -> None:
    from comptroller.telemetry.events import EVENTS, SEVERITIES

    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (INFO|WARN|ERROR) \|", page, re.MULTILINE))
    assert rows == {name: SEVERITIES[event.severity][1] for name, event in EVENTS.items()}


def test_every_name_of_a_log_line_is_documented() -> None:
    from comptroller.telemetry import attributes

    names = r'"((?:gen_ai|comptroller|client|server|error|http)\.[a-z_.]+)"'
    told = set(re.findall(names, inspect.getsource(attributes)))
    page = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    written: set[str] = set()
    for cell in re.findall(r"^\| (`[a-z_]+\.[^|]*) \|", page, re.MULTILINE):
        first, *more = re.findall(r"`([a-z_.]+)`", cell)
        stem = first.split(".")[0 : 2 if first.startswith("gen_ai") else 1]
        written |= {first, *(".".join(stem) + each if each.startswith(".") else each for each in more)}
    assert written == told


def test_links_between_documents_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in published()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not dead, f"links to nothing: {dead}"


def setting_names(kind: msgspec.inspect.Type, path: str = "") -> Iterator[str]:
    """The dotted path of every setting; NAME stands for a name that the user chooses."""
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            for field in fields:
                yield from setting_names(field.type, f"{path}.{field.encode_name}" if path else field.encode_name)
        case msgspec.inspect.DictType(value_type=value) if holds_struct(value):
            yield from setting_names(value, f"{path}.NAME")
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item) if holds_struct(
            item
        ):
            yield from setting_names(item, path)
        case msgspec.inspect.UnionType(types=types) if holds_struct(kind):
            for one in types:
                if holds_struct(one):
                    yield from setting_names(one, path)
        case msgspec.inspect.Metadata(type=inner):
            yield from setting_names(inner, path)
        case _:
            yield path


def holds_struct(kind: msgspec.inspect.Type) -> bool:
    match kind:
        case msgspec.inspect.StructType():
            return True
        case msgspec.inspect.UnionType(types=types):
            return any(holds_struct(one) for one in types)
        case msgspec.inspect.DictType(value_type=inner) | msgspec.inspect.Metadata(type=inner):
            return holds_struct(inner)
        case msgspec.inspect.ListType(item_type=inner) | msgspec.inspect.VarTupleType(item_type=inner):
            return holds_struct(inner)
        case _:
            return False


def command_names(command: Any, name: str) -> Iterator[str]:
    """`comptroller budgets`, `comptroller policy test`, ...: everything that can be run and is not hidden."""
    names = getattr(command, "list_commands", None)
    if names is None:
        yield name
        return
    context = command.make_context(name, [], resilient_parsing=True)
    for child in names(context):
        found = command.get_command(context, child)
        if found is not None and not found.hidden:
            yield from command_names(found, f"{name} {child}")
