"""Imports run down only, and the rules stay pure (ARCHITECTURE.md says why)."""

import ast
import subprocess
import sys

import pytest

from tests.architecture.house import ROOT, SRC, calls, imports, modules, parse

PURE = ("core/", "wire/")

# A value that depends on when or where it is asked for is handed in, by whoever stands around the rules.
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
CLOCKS = {"now", "utcnow", "today", "monotonic", "perf_counter"}

# The one egress module; the command, which speaks to our own admin API; the client of agents, which speaks to us.
MAY_CONNECT = ("gateway/egress", "cli/", "client/gateway")
CONNECTS = {"create_connection", "open_connection", "open_unix_connection", "create_unix_connection", "sock_connect"}
CLIENTS = ("urllib.request", "http.client", "httpx", "httpx2", "aiohttp", "requests", "websockets", "smtplib", "ftplib")


def test_the_contracts_in_pyproject_hold() -> None:
    linter = "from importlinter.cli import lint_imports_command as run; run(['--no-cache', '--no-logo'])"
    run = subprocess.run([sys.executable, "-c", linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith(PURE)])
def test_rules_and_dialects_are_pure(module: str) -> None:
    tree = parse(SRC / module)
    faults = [
        f"line {node.lineno}: calls {name}()"
        for name, node in calls(tree)
        if name in IMPURE_CALLS or name.rsplit(".", 1)[-1] in CLOCKS
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            faults.append(f"line {node.lineno}: is async")
        if isinstance(node, ast.Global):
            faults.append(f"line {node.lineno}: changes a module's global")
    assert not faults, f"{module} must be a pure function of its arguments: {faults}"


@pytest.mark.parametrize("module", [name for name in modules() if not name.startswith(MAY_CONNECT)])
def test_one_module_opens_connections(module: str) -> None:
    tree = parse(SRC / module)
    faults = [f"line {node.lineno}: {name}()" for name, node in calls(tree) if name.rsplit(".", 1)[-1] in CONNECTS]
    faults += [
        f"line {line}: {name}"
        for name, line in imports(tree)
        if f"{name}.".startswith(tuple(f"{client}." for client in CLIENTS))
    ]
    assert not faults, (
        f"{module} opens a connection; that is gateway/egress.py's job, where the address is judged: {faults}"
    )
