"""`python -m comptroller.sandbox`: the sandbox provider by itself."""

from __future__ import annotations

import argparse
import sys

from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.serve import run


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal comes. Exit status 0, or 2 when it cannot listen."""
    options = _parser().parse_args(arguments)
    try:
        config = SandboxConfig(
            keys=frozenset(options.key),
            tokens_per_s=options.tokens_per_s,
            first_byte_delay_s=options.first_byte_delay_s,
            tokens_per_chunk=options.tokens_per_chunk,
            ahead=options.ahead,
            answer_tokens=options.answer_tokens,
            abort_stops=not options.abort_continues,
            cache_min_tokens=options.cache_min_tokens,
            bill_lines=options.bill_lines,
            batch_expires_s=options.batch_expires_s,
            allow_any_host=options.allow_any_host,
        )
        run(options.host, options.port, config=config, ready=_say_ready)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    return 0


def _say_ready(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"sandbox listening on http://{shown}:{port}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    defaults = SandboxConfig()
    parser = argparse.ArgumentParser(prog="comptroller sandbox", description="A rehearsal provider with its own bill.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8788, help="0 picks a free one (default %(default)s)")
    parser.add_argument("--allow-any-host", action="store_true", help="allow a host that is not loopback")
    parser.add_argument("--key", action="append", default=[], help="accept this key (repeatable; default: sandbox-*)")
    parser.add_argument("--tokens-per-s", type=float, default=defaults.tokens_per_s, help="0: as fast as possible")
    parser.add_argument("--first-byte-delay-s", type=float, default=defaults.first_byte_delay_s)
    parser.add_argument("--tokens-per-chunk", type=int, default=defaults.tokens_per_chunk)
    parser.add_argument("--ahead", type=int, default=defaults.ahead, help="tokens made (and billed) ahead of a stream")
    parser.add_argument("--answer-tokens", type=int, default=defaults.answer_tokens, help="usual length of an answer")
    parser.add_argument("--abort-continues", action="store_true", help="go on generating after a disconnect")
    parser.add_argument("--cache-min-tokens", type=int, default=defaults.cache_min_tokens)
    parser.add_argument("--bill-lines", type=int, default=defaults.bill_lines, help="request lines that are kept")
    parser.add_argument("--batch-expires-s", type=float, default=defaults.batch_expires_s)
    return parser


if __name__ == "__main__":
    sys.exit(main())
