"""What a seeded generator throws at the data plane: requests that are nearly right, as raw bytes."""

import copy
import gzip
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.wire.recorded import load

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
}
BODIES = [(PATHS[name], each.request) for name in PATHS for each in load(name) if each.request is not None]
GEMINI = ":generateContent"
BODIES += [(GEMINI, each.request) for each in load("gemini")]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 2**63, 10**30, "", "x", "5", "\x00", "\ud800", "x" * 5000),
    *(
        [],
        {},
        [None],
        [[]],
        {"": None},
        {"type": "text"},
        {"type": "image", "source": {"type": "url", "url": "file:x"}},
    ),
    *("http://127.0.0.1/", [{"role": "user"}], {"role": 7, "content": {}}, [1, "a", None, {}], float(10**20)),
]
MODELS = ("sandbox-large", "sandbox-small", "sandbox-reasoner", "nobody")


class Shot(NamedTuple):
    """Bytes for one connection, in pieces, and how it is left."""

    pieces: list[bytes]
    whole: bool  # nothing was cut off or spoilt, so an answer comes without an end of ours
    reset: bool  # hang up hard after the last piece, instead of waiting for an answer


def shot(dice: random.Random, credential: str) -> Shot:
    """At a model route."""
    path, body = _body(dice)
    return thrown(dice, _request(dice, path, body, credential))


def thrown(dice: random.Random, raw: bytes) -> Shot:
    """A request as it leaves: mostly whole, at times spoilt, cut off or in pieces."""
    intact = raw
    if dice.random() < 0.25:
        raw = _spoil(dice, raw)
    if dice.random() < 0.15:
        raw = raw[: dice.randrange(len(raw))]
    cuts = sorted(dice.randrange(len(raw) + 1) for _ in range(dice.choice((0, 0, 1, 3))))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    return Shot([piece for piece in pieces if piece], raw == intact, dice.random() < 0.15)


def _body(dice: random.Random) -> tuple[str, bytes]:
    path, recorded = dice.choice(BODIES)
    model = dice.choices(MODELS, (6, 3, 1, 1))[0]
    value = json.loads(json.dumps(recorded))
    if path == GEMINI:
        path = f"/v1beta/models/{model}{path}"
        value |= {"generationConfig": {"maxOutputTokens": 20}}
    else:
        limit = "max_output_tokens" if path == PATHS["openai_responses"] else "max_tokens"
        value |= {"model": model, limit: 20}
    if path == PATHS["openai_chat"]:
        value.pop("max_completion_tokens", None)
    for _ in range(dice.choice((0, 1, 1, 2, 4))):
        value = mutated(dice, value)
    body = json.dumps(value, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    kind = dice.random()
    if kind < 0.05:
        body = body[:-1] + b', "max_tokens": 9}'
    elif kind < 0.10:
        at = dice.randrange(len(body))
        body = (
            body[:at] + dice.choice((b"\xff", b"\xc0\xaf", b"\x00", b"[" * 500, b"9" * 5000, b"NaN", b"\\")) + body[at:]
        )
    return path, body


def mutated(dice: random.Random, value: Any) -> Any:
    """The value with one place of it changed: another type, gone, twice, or deeper."""
    places = [(value, key) for key in value] if isinstance(value, dict) else [(value, i) for i in range(len(value))]
    if not places:
        return copy.deepcopy(dice.choice(VALUES))
    holder, key = dice.choice(places)
    inner = holder[key]
    if isinstance(inner, dict | list) and inner and dice.random() < 0.7:
        holder[key] = mutated(dice, inner)
    elif isinstance(holder, dict) and dice.random() < 0.2:
        del holder[key]
    elif dice.random() < 0.1:
        for _ in range(dice.choice((3, 120))):
            inner = [inner]
        holder[key] = inner
    else:
        holder[key] = copy.deepcopy(dice.choice(VALUES))
    return value


def _request(dice: random.Random, path: str, body: bytes, credential: str) -> bytes:
    lines = [f"{_method(dice)} {_target(dice, path)} HTTP/{dice.choices(('1.1', '1.0', '2.0', '9'), (20, 2, 1, 1))[0]}"]
    slot = dice.choice(("authorization: Bearer ", "x-api-key: ", "api-key: ", "Authorization: bearer "))
    kind = dice.choices(("application/json", "text/plain", "multipart/form-data; boundary=x", ""), (9, 1, 1, 1))[0]
    lines += ["host: gateway", f"{slot}{credential}", "connection: close", *([f"content-type: {kind}"] if kind else [])]
    return framed(dice, lines, body)


def framed(dice: random.Random, lines: list[str], body: bytes) -> bytes:
    """A request with these first lines, its body framed somehow, and with more headers."""
    framing = dice.random()
    if framing < 0.08:
        lines.append("content-encoding: gzip")
        body = dice.choice((gzip.compress(body), body, gzip.compress(body)[:-4], gzip.compress(bytes(1 << 24))))
    if framing < 0.3:
        lines.append("transfer-encoding: chunked")
        body = _chunked(dice, body)
    else:
        length = len(body) + dice.choices((0, 1, -1, 50, 10**12), (40, 1, 1, 1, 1))[0]
        lines.append(f"content-length: {length}")
    for _ in range(dice.choice((0, 0, 0, 1, 3, 200))):
        lines.insert(dice.randrange(1, len(lines) + 1), _header(dice))
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def _method(dice: random.Random) -> str:
    return dice.choices(("POST", "GET", "HEAD", "OPTIONS", "CONNECT", "post", "BREW"), (60, 1, 1, 1, 1, 1, 1))[0]


def _target(dice: random.Random, path: str) -> str:
    others = (
        f"{path}?beta=true",
        f"/openai{path}",
        f"/anthropic{path}",
        "/v1/models",
        "*",
        f"http://x{path}",
        "/%ff",
        "",
    )
    return path if dice.random() < 0.9 else dice.choice(others)


def _header(dice: random.Random) -> str:
    return dice.choice(
        (
            *("accept: x", "expect: 100-continue", "upgrade: websocket", "connection: upgrade", "x-api-key: other"),
            *("transfer-encoding: gzip", "content-length: 3", "x: " + "y" * 9000, " folded", "no colon", ": x"),
            *("anthropic-version: \xff", "anthropic-beta: " + ",".join("abc"), "cookie: a=b", "te: trailers"),
        )
    )


def _chunked(dice: random.Random, body: bytes) -> bytes:
    size = dice.choice((1, 17, 1000, 10**6)) if len(body) < 3000 else dice.choice((1000, 10**6))
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    written = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    ends = (b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"", b"-1\r\n\r\n", b"fffffffffffffffff\r\n", b"zz\r\n\r\n")
    return written + dice.choices(ends, (20, 2, 1, 1, 1, 1))[0]


def _spoil(dice: random.Random, raw: bytes) -> bytes:
    spoilers: tuple[Callable[[int], bytes], ...] = (
        lambda at: raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :],
        lambda at: raw[:at] + raw[at + 1 :],
        lambda at: raw[:at] + dice.randbytes(dice.randrange(1, 20)) + raw[at:],
        lambda at: raw[:at] + raw[max(0, at - 30) : at] + raw[at:],
    )
    # Most of what matters to a parser stands in the head.
    return dice.choice(spoilers)(dice.randrange(min(len(raw), 400) if dice.random() < 0.6 else len(raw)))
