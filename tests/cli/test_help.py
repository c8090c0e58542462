"""`--help`: fast, for every command, and with an example that is a real one."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from comptroller.cli import app
from tests.architecture.house import ROOT

ROOT_COMMAND = typer.main.get_command(app)

# What a list of commands does not need; each costs more than all of Typer.
HEAVY = {"rich", "msgspec", "starlette", "uvicorn", "sqlalchemy", "alembic", "joserfc", "cryptography", "asyncio"}


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name in getattr(command, "commands", {}):
        yield from commands(command.commands[name], (*path, name))


def found(path: tuple[str, ...]) -> Any:
    command: Any = ROOT_COMMAND
    for name in path:
        command = command.commands[name]
    return command


ALL = list(commands(ROOT_COMMAND))


def help_of(path: tuple[str, ...]) -> str:
    command = found(path)
    context = command.make_context(" ".join(("comptroller", *path)), [], resilient_parsing=True)
    return command.get_help(context)


def examples(text: str) -> list[str]:
    return re.findall(
        r"^\s+(?:export \w+=\$\(|\(umask 077; )?(comptroller [^\n]*?)(?: >>? [\w.]+)?\)?(?: \|\|.*)?$",
        text.partition("Example:")[2],
        re.M,
    )


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_an_example_of_its_own(path: tuple[str, ...]) -> None:
    found_here = examples(help_of(path))
    assert found_here, help_of(path)
    assert any(shlex.split(each)[1 : 1 + len(path)] == list(path) for each in found_here)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_example_is_understood(path: tuple[str, ...]) -> None:
    for each in examples(help_of(path)):
        words = shlex.split(each)[1:]
        command, name = ROOT_COMMAND, "comptroller"
        while words and words[0] in getattr(command, "commands", {}):
            name = words.pop(0)
            command = command.commands[name]
        # Parsing only: an option that does not exist, or an argument that is missing, raises.
        command.make_context(name, words)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_the_list_of_commands_is_not_cut(path: tuple[str, ...]) -> None:
    assert "..." not in re.sub(r"_01k\.\.\.|open, \.\.\.|SubCommand|\[ARGS\]\.\.\.|sandbox-\.\.\.", "", help_of(path))


@pytest.mark.parametrize("arguments", [["--help"], ["token", "--help"], ["sessions", "end", "--help"]])
def test_help_loads_nothing_that_it_does_not_need(arguments: list[str]) -> None:
    code = "import sys; from comptroller.cli import run; run(); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert "Usage: comptroller" in done.stdout
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}


def test_a_command_that_does_not_exist() -> None:
    line = [sys.executable, "-m", "comptroller", "budgetz"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "budgetz" in done.stderr
    assert done.stdout == ""


def test_no_command_shows_the_list() -> None:
    line = [sys.executable, "-m", "comptroller"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert "Begin:" in done.stdout + done.stderr
    assert done.returncode == 2


def test_every_command_stands_in_one_section_of_the_help() -> None:
    listed = ROOT_COMMAND.list_commands(None)
    assert len(listed) == len(set(listed))
    assert set(listed) == set(ROOT_COMMAND.commands)
    text = help_of(())
    assert all(re.search(rf"^  {re.escape(name)} ", text, re.M) for name in listed)
    assert text.index("Begin:") < text.index("Look:") < text.index("Keep:")
