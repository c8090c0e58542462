"""A fuzz run against a gateway process: what it must never answer, and what its books must say afterwards."""

import contextlib
import random
import socket
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.end_to_end.caller import eventually, mint
from tests.fuzz.caller_shots import AUDIENCE, ISSUER, KEYS, Known, caller_shot, trust
from tests.fuzz.shots import Shot, shot
from tests.harness.configuration import Table, budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess
from tests.torture.books import read_bill, read_books
from tests.torture.judge import Verdict, money, settled_once, upstream

SLOTS = 8
PATIENCE_S = 20.0
LINGER = struct.pack("ii", 1, 0)  # close() sends a reset


class Result(NamedTuple):
    shots: int
    statuses: Counter[int]  # 0: no answer
    faults: list[str]
    verdicts: list[Verdict]


def run(folder: Path, seed: int, seconds: float) -> Result:
    """Throw for so long, then wait for quiet and look."""
    settings = process("", limits={"body_timeout_s": 2.0})
    with SandboxProcess() as sandbox:
        settings["providers"]["sandbox"]["base_url"] = sandbox.url
        tokens = trust(folder, random.Random(seed))
        with GatewayProcess(folder, settings, known_here()) as gateway:
            until = time.monotonic() + seconds
            with ThreadPoolExecutor(SLOTS) as pool:
                heard = pool.map(lambda slot: _throw(gateway, tokens, seed * 1000 + slot, until), range(SLOTS))
                said = [each for slot in heard for each in slot]
            eventually(lambda: gateway.admin("GET", "/status")["open_holds"] == 0)
            assert gateway.ready()
            faults = [f"seed {seed}: {status} to {raw[:300]!r}" for status, raw in said if status == 500]
            faults += [
                line
                for line in gateway.log().splitlines()
                if "Traceback" in line or '_fault"' in line or '"fault"' in line
            ]
            gateway.sigterm()
            books, bill = read_books(gateway.state), read_bill(sandbox.requests())
            verdicts = [*money(books, bill), *upstream(books, bill), *settled_once(books)]
            return Result(len(said), Counter(status for status, _ in said), faults, verdicts)


def known_here() -> Table:
    """Two agents, one of them known to an issuer whose keys stand in a file; a sandbox; and nothing that runs out."""
    issuer = {"kind": "oidc", "url": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], "keys": f"file:{KEYS}"}
    federated = [{"issuer": "main", "subject": "me"}]
    identities = {"agent/ant": identity("red", federated=federated), "agent/bee": identity("blue")}
    identities["agent/visitor"] = identity("blue", environment="experimentation")
    bounds = {"agent": {"usd": "unbounded", "model_calls": "unbounded", "fan_out": 10_000}}
    limits = [budget("all", "1000000.00 USD"), budget("each", "1.00 USD", per="subject")]
    unregistered = {"unregistered": "sandbox", "sandbox": "agent/visitor"}
    return registry(limits, identities, issuers={"main": {**issuer, **unregistered, "client_id": "cli"}}, bounds=bounds)


def _throw(gateway: GatewayProcess, tokens: list[str], seed: int, until: float) -> list[tuple[int, bytes]]:
    dice = random.Random(seed)
    said: list[tuple[int, bytes]] = []
    known, credential = _known(gateway, tokens), mint(gateway)["credential"]
    while time.monotonic() < until:
        if dice.random() < 0.005:
            known = _known(gateway, tokens)  # it may have been closed, revoked or narrowed to nothing
        each = shot(dice, credential) if dice.random() < 0.5 else caller_shot(dice, known)
        said.append((_status(_ask(gateway.port, each)), b"".join(each.pieces)))
    return said


def _known(gateway: GatewayProcess, tokens: list[str]) -> Known:
    secret = gateway.admin("POST", "/secrets", {"identity": "agent/ant", "expires_s": 3600})["secret"]
    return Known(mint(gateway)["credential"], secret, tokens)


def _ask(port: int, each: Shot) -> bytes:
    answer = b""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plug,
        contextlib.suppress(ConnectionError),
    ):
        for piece in each.pieces:
            plug.sendall(piece)
        if each.reset:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
            return b""
        if not each.whole:
            with contextlib.suppress(OSError):  # it may have hung up already
                plug.shutdown(socket.SHUT_WR)
        while piece := plug.recv(65_536):
            answer += piece
    return answer


def _status(answer: bytes) -> int:
    """Of the last answer: 100 Continue may stand before it. 0: none."""
    if answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    if not answer:
        return 0
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])
