"""The gateway as a user runs it: two configuration files, `comptroller serve`, and the command line for the books."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.real.model import MODEL, ModelServer
from tests.real.processes import Child, RunFailed, free_port, running
from tests.real.tokens import Prices, Tokens

IDENTITY = "agent/real"
TIGHT_IDENTITY = "agent/tight"
WIDE_BUDGET = "lab-all"
TIGHT_BUDGET = "tight-one"
TIGHT_LIMIT = "0.0002"
START_S = 30.0
COMMAND_S = 30.0

PROCESS = """\
listen = "127.0.0.1:{port}"
state = "state"
registry = "registry.toml"

[admin]
listen = "127.0.0.1:{admin_port}"

[providers.local]
dialects = ["openai"]
base_url = "{upstream}"
api_key = "env:LOCAL_API_KEY"
"""

REGISTRY = """\
[organization]
name = "acme"
trust_domain = "acme.example"

[teams.lab]
cost_center = "CC-1"

[owners."lab-lead@acme.example"]
team = "lab"

[identities."{identity}"]
kind = "agent"
team = "lab"
owner = "lab-lead@acme.example"
purpose = "asks a real model real questions"
environment = "testing"

[identities."{tight_identity}"]
kind = "agent"
team = "lab"
owner = "lab-lead@acme.example"
purpose = "runs out of money"
environment = "testing"

[models."{model}"]
providers = ["local"]

[[prices]]
model = "{model}"
from = 2026-01-01
input = "{prices.input}"
output = "{prices.output}"
cache_read = "{prices.cache_read}"

[[budgets]]
name = "{wide}"
scope = {{ team = "lab" }}
limit = "10.00 USD"
window = "lifetime"

[[budgets]]
name = "{tight}"
scope = {{ identity = "{tight_identity}" }}
limit = "{tight_limit} USD"
window = "lifetime"
"""


@dataclass(frozen=True)
class Row:
    """One call in the books. Money in USD."""

    id: str
    identity: str
    outcome: str
    refusal: str | None
    presumed: bool
    tokens: Tokens
    charge: Fraction
    held: Fraction


def usd(text: str | None) -> Fraction:
    """A decimal string of USD; nothing is zero."""
    return Fraction(Decimal(text)) if text is not None else Fraction(0)


def row(fields: Mapping[str, Any]) -> Row:
    """One element of `comptroller calls --json`."""
    tokens = Tokens(fields["input_tokens"] or 0, fields["cached_tokens"] or 0, fields["output_tokens"] or 0)
    return Row(
        fields["id"],
        fields["identity"],
        str(fields["outcome"]),
        fields["refusal"],
        bool(fields["presumed"]),
        tokens,
        usd(fields["charge_usd"]),
        usd(fields["held_usd"]),
    )


@dataclass(frozen=True)
class Gateway:
    """A running gateway, read through its command line."""

    base_url: str
    folder: Path
    child: Child
    env: Mapping[str, str]

    def command(self, *arguments: str) -> str:
        """What `comptroller ARGUMENTS --config PATH` prints; RunFailed with its error text if it fails."""
        line = [sys.executable, "-m", "comptroller", *arguments, "--config", str(self.folder / "comptroller.toml")]
        env = {**os.environ, **self.env}
        done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        if done.returncode != 0:
            raise RunFailed(f"comptroller {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def token(self, identity: str) -> str:
        """A fresh credential of this identity."""
        return self.command("token", identity).strip()

    def rows(self) -> dict[str, Row]:
        """Every call in the books, by id."""
        return {fields["id"]: row(fields) for fields in json.loads(self.command("calls", "--json"))}

    def budgets(self) -> dict[str, dict[str, Any]]:
        """Every budget's state, by name."""
        return {fields["name"]: fields for fields in json.loads(self.command("budgets", "--json"))}

    def files_with(self, secret: str) -> list[str]:
        """Files of the gateway (state, log, configuration) in which this secret can be read."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [str(path.relative_to(self.folder)) for path in files if secret.encode() in path.read_bytes()]


def configure(folder: Path, upstream: str, port: int, admin_port: int, prices: Prices) -> None:
    """Write the two files of a gateway whose only provider is the model server."""
    process = PROCESS.format(port=port, admin_port=admin_port, upstream=upstream)
    registry = REGISTRY.format(
        identity=IDENTITY,
        tight_identity=TIGHT_IDENTITY,
        model=MODEL,
        prices=prices,
        wide=WIDE_BUDGET,
        tight=TIGHT_BUDGET,
        tight_limit=TIGHT_LIMIT,
    )
    (folder / "comptroller.toml").write_text(process)
    (folder / "registry.toml").write_text(registry)


@contextlib.contextmanager
def serving(folder: Path, model: ModelServer, prices: Prices) -> Iterator[Gateway]:
    """A gateway in front of the model server; stopped at the end."""
    folder.mkdir()
    port, admin_port = free_port(), free_port()
    configure(folder, model.base_url, port, admin_port, prices)
    command = [sys.executable, "-m", "comptroller", "serve", "--config", str(folder / "comptroller.toml")]
    env = {"LOCAL_API_KEY": model.key}
    with running(Child("the gateway", command, env, folder / "gateway.log")) as child:
        child.wait_ready(f"http://127.0.0.1:{port}/readyz", START_S)
        yield Gateway(f"http://127.0.0.1:{port}", folder, child, {})
