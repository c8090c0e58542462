"""`comptroller sandbox`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.said import write

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port; 0 picks a free one.")]
Key = Annotated[list[str] | None, typer.Option(help="Accept this key; repeatable.", show_default="any sandbox-...")]
Speed = Annotated[float, typer.Option("--tokens-per-s", help="Output tokens a second; 0 is as fast as possible.")]
Delay = Annotated[float, typer.Option("--first-byte-delay-s", help="Seconds of silence before each answer.")]
Chunk = Annotated[int, typer.Option("--tokens-per-chunk", help="Output tokens in one event of a stream.")]
Ahead = Annotated[int, typer.Option(help="Tokens generated, and billed, ahead of what a stream has sent.")]
Continues = Annotated[bool, typer.Option("--abort-continues", help="Go on generating when the client hangs up.")]
AnyHost = Annotated[bool, typer.Option("--allow-any-host", help="Listen on an address that is not loopback.")]


def sandbox(
    *,
    host: Host = "127.0.0.1",
    port: Port = 8788,
    key: Key = None,
    tokens_per_s: Speed = 0.0,
    first_byte_delay_s: Delay = 0.0,
    tokens_per_chunk: Chunk = 1,
    ahead: Ahead = 0,
    abort_continues: Continues = False,
    allow_any_host: AnyHost = False,
) -> None:
    """Run a provider to rehearse on, with its own bill.

    An OpenAI-compatible server with its own prices and with faults on demand: rehearse limits on it before
    real money is connected. `GET /sandbox/bill` shows what it billed.

    \b
    Example:
      comptroller sandbox --port 8788 --tokens-per-s 50
    """
    from comptroller.sandbox.config import SandboxConfig
    from comptroller.sandbox.serve import run

    try:
        config = SandboxConfig(
            keys=frozenset(key or ()),
            tokens_per_s=tokens_per_s,
            first_byte_delay_s=first_byte_delay_s,
            tokens_per_chunk=tokens_per_chunk,
            ahead=ahead,
            abort_stops=not abort_continues,
            allow_any_host=allow_any_host,
        )
        run(host, port, config=config, ready=_say_ready)
    except (OSError, ValueError) as error:
        raise CommandError(f"The sandbox does not start: {error}.") from error


def _say_ready(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    write(f"sandbox listening on http://{shown}:{port}")
