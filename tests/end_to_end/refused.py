"""How a call comes to be refused, for every code of core/refusal.py: where it is sent, by whom, and what it asks."""

import json
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from comptroller.core.detection.retries import ROW_MOST
from tests.end_to_end.caller import ask, chat, eventually, mint, row_of, stream
from tests.harness.configuration import Table, budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SRC, SandboxProcess

MIB = 1 << 20
POLICIES = """
@id("agents") permit (principal, action, resource) when { principal.kind == "agent" };
@id("never") @reason("nobody uses it") forbid (principal, action, resource == Model::"forbidden");
@id("asked-for") @remedy("approval:finops") forbid (principal, action, resource == Model::"asked-for");
@id("short") @remedy("cap_input:2") forbid (principal, action, resource == Model::"short");
"""
IDENTITIES = {
    "agent/ant": identity("red"),
    "agent/poor": identity("red"),
    "agent/brief": identity("red", profile="brief"),
    "agent/walled": identity("red", environment="production"),
    "service/nobody": identity("red", "service"),
    "agent/gone": identity("red"),
    "agent/late": identity("red"),
    "agent/halted": identity("red"),
    "agent/stubborn": identity("red"),
    "agent/circling": identity("red"),
    "agent/hasty": identity("red"),
    "agent/wordy": identity("red"),
    "agent/orphan": identity("blue"),
}
BUDGETS = [
    budget("acme-all", "100.00 USD"),
    budget("poor-day", "0.0001 USD", "day", scope={"identity": "agent/poor"}, visible="caller"),
]
SILENT, FAILING = ("nowhere", "mute"), ("resting", "failing")  # models with providers of their own
PLAIN = ("forbidden", "asked-for", "short", "unbounded", "halted", *SILENT, *FAILING)

A_PICTURE = "a picture"
CIRCLES = 2


class Way(NamedTuple):
    """One call that is refused. `given`: what is asked beside a short question to sandbox-large."""

    url: str
    credential: str
    given: Mapping[str, Any] = {}

    def asked(self, picture: Mapping[str, Any]) -> dict[str, Any]:
        """What is given, with a picture as the dialect writes it."""
        shown = {"messages": [{"role": "user", "content": [picture]}]}
        return {**self.given, **(shown if self.given.get("messages") == A_PICTURE else {})}


class Refusing:
    """A gateway on which nearly every refusal can be met, and what was prepared on it."""

    def __init__(self, gateway: GatewayProcess, sandbox: SandboxProcess, folder: Path) -> None:
        self.gateway, self.sandbox, self.folder = gateway, sandbox, folder
        self._sessions = {name: mint(gateway, name) for name in IDENTITIES}
        ended = mint(gateway)
        gateway.admin("POST", f"/sessions/{ended['session']}/end", {"reason": "the test is over"})
        brief = mint(gateway, lifetime_s=1)
        self.credential_stopped, self.session_stopped = mint(gateway), mint(gateway)
        for scope, value in {
            "credential": self.credential_stopped["credential"],
            "session": self.session_stopped["session"],
            "identity": "agent/halted",
            "model": "halted",
        }.items():
            gateway.admin("POST", "/stops", {"scope": scope, "value": value, "reason": "an incident"})
        narrow = {"identity": "agent/ant", "models": ["sandbox-small"]}
        self.narrow = str(gateway.admin("POST", "/sessions/open", narrow)["credential"])
        self.ended, self.expired = str(ended["credential"]), str(brief["credential"])
        self._overrun()
        gateway.write_registry(the_registry(later=True))
        gateway.command("apply", "--yes")
        eventually(lambda: ask(gateway, self.expired).code == "credential_expired")

    def by(self, name: str = "agent/ant", **given: Any) -> Way:
        return Way(self.gateway.url, self._sessions[name]["credential"], given)

    def _overrun(self) -> None:
        """Be billed above the hold until the model is stopped, in each dialect."""
        credential = self._sessions["agent/ant"]["credential"]
        for path in ("/v1/chat/completions", "/v1/messages"):
            for by in (1_000, 40_000, 4_000_000):  # tokens, each more than the bound that was raised for the one before
                body = chat(model="sandbox-small", max_tokens=10, sandbox={"fault": "overrun", "by": by})
                said = ask(self.gateway, credential, body, path=path)
                assert said.status == 200, said.body


@contextmanager
def refusing(folder: Path, sandbox: SandboxProcess) -> Iterator[Refusing]:
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "all.cedar").write_text(POLICIES)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it takes connections, and says nothing
        files = process(
            sandbox.url, limits={"body_bytes": 2 * MIB, "bodies_bytes": MIB, "body_timeout_s": 1.0}, providers={}
        )
        files["providers"] = {
            "sandbox": provider(sandbox.url, environments=["testing"]),
            "nowhere": provider("http://127.0.0.1:1"),
            "resting": provider(sandbox.url, breaker_failures=1),
            "failing": provider(sandbox.url, breaker_failures=0),
            "mute": provider(f"http://127.0.0.1:{mute.getsockname()[1]}", first_byte_timeout_s=0.5),
        }
        with GatewayProcess(folder, files, the_registry()) as gateway:
            yield Refusing(gateway, sandbox, folder)
            assert "Traceback" not in gateway.log()


def the_registry(*, later: bool = False) -> Table:
    """Who exists; `later`: after one has left, one has run out, and one's owner is gone."""
    members = {name: dict(each) for name, each in IDENTITIES.items()}
    models = {
        "sandbox-*": model("sandbox"),
        "unpriced": model("sandbox"),
        **{name: model(name if name in SILENT else "sandbox") for name in PLAIN},
        **{name: model(name, upstream_model={name: "sandbox-small"}) for name in FAILING},
        "unbounded": {"providers": ["sandbox"]},
    }
    retries = [{"name": "never", "scope": {"identity": "agent/stubborn"}, "share": "0%", "per_minute": 0}]
    loops = [
        {
            "name": "circles",
            "scope": {"identity": "agent/circling"},
            "same_step": CIRCLES,
            "slow_after": "off",
            "refuse_after": 0,
            "quarantine_after": "off",
        }
    ]
    rates = [
        {"name": "hourly", "scope": {"identity": "agent/hasty"}, "limit": "1 calls/hour"},
        {"name": "tiny", "scope": {"identity": "agent/wordy"}, "limit": "10 tokens/hour"},
    ]
    made = registry(
        BUDGETS, members, models, profiles={"brief": {"usd": "0.0001"}}, retries=retries, loops=loops, rates=rates
    )
    first_day = made["prices"][0]["from"]
    made["prices"] += [{"model": name, "from": first_day, "input": "1.00", "output": "1.00"} for name in PLAIN]
    if later:
        del made["identities"]["agent/gone"]
        made["identities"]["agent/late"]["expires"] = datetime.now(UTC).date() - timedelta(days=2)
        del made["owners"]["blue-lead@acme.example"]
    return made


# The ways. Each is a context manager, for what has to last as long as the call.

Making = Callable[[Refusing], AbstractContextManager[Way]]


def simply(way: Callable[[Refusing], Way]) -> Making:
    @contextmanager
    def making(world: Refusing) -> Iterator[Way]:
        yield way(world)

    return making


@contextmanager
def _slowly(world: Refusing) -> Iterator[Way]:
    """Through a wire that keeps the end of every body back."""
    with socket.create_server(("127.0.0.1", 0)) as ear:
        thread = threading.Thread(target=_hold_back, args=(ear, world.gateway.port), daemon=True)
        thread.start()
        yield Way(f"http://127.0.0.1:{ear.getsockname()[1]}", world.by().credential)
        ear.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextmanager
def _busily(world: Refusing) -> Iterator[Way]:
    """Something that its provider still works on."""
    credential = world.by().credential
    lasting = {"background": True, "sandbox": {"first_byte_delay_s": 3_600}}
    body = {"model": "sandbox-large", "input": "Tell me about holds.", **lasting}
    said = ask(world.gateway, credential, body, path="/v1/responses")
    made = json.loads(said.body)["id"]
    yield world.by(made=made)
    assert ask(world.gateway, credential, b"", path=f"/v1/responses/{made}/cancel").status == 200
    eventually(lambda: row_of(world.gateway, said.call_id)["outcome"] != "open")  # nobody asks for it any more


def _hold_back(ear: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            caller, _ = ear.accept()
            with caller, socket.create_connection(("127.0.0.1", port)) as gateway:
                head, body = _read_request(caller)
                gateway.sendall(head.replace(b"\r\n", b"\r\nconnection: close\r\n", 1) + body[: len(body) // 2])
                while piece := gateway.recv(65_536):
                    caller.sendall(piece)


def _read_request(plug: socket.socket) -> tuple[bytes, bytes]:
    """The head, with the empty line behind it, and the whole body."""
    with plug.makefile("rb") as reader:
        lines = list(iter(reader.readline, b"\r\n"))
        (length,) = [int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")]
        return b"".join([*lines, b"\r\n"]), reader.read(length)


@contextmanager
def _own(world: Refusing, name: str, **given: Any) -> Iterator[GatewayProcess]:
    """A gateway that may be harmed."""
    with GatewayProcess(world.folder / name, process(world.sandbox.url, drain_s=60.0), registry(), **given) as gateway:
        yield gateway


@contextmanager
def _disk_full(world: Refusing) -> Iterator[Way]:
    with _own(world, "full") as gateway:
        credential = mint(gateway)["credential"]
        _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0, hard))
        yield Way(gateway.url, credential)


@contextmanager
def _stopping(world: Refusing) -> Iterator[Way]:
    """A call is in flight, so the gateway waits for it and takes no other."""
    with _own(world, "stopping") as gateway:
        credential = mint(gateway)["credential"]
        with stream(gateway, credential, chat(sandbox={"output_tokens": 4000, "tokens_per_s": 20})) as running:
            running.readline()
            gateway.signal(signal.SIGTERM)
            eventually(lambda: gateway.get("/readyz")[0] == 503)
            yield Way(gateway.url, credential)


@contextmanager
def _resting(world: Refusing) -> Iterator[Way]:
    """Its provider asked everybody to wait, for longer than a client would."""
    credential = world.by().credential
    fault = {"fault": "rate_limited", "retry_after_s": 300}
    ask(world.gateway, credential, chat(model="resting", max_tokens=5, sandbox=fault))
    yield world.by(model="resting")


@contextmanager
def _too_fast(world: Refusing) -> Iterator[Way]:
    """The second call of an hour in which there may be one."""
    way = world.by("agent/hasty")
    ask(world.gateway, way.credential, chat(max_tokens=5))
    world.sandbox.reset_bill()
    yield way


@contextmanager
def _again_and_again(world: Refusing) -> Iterator[Way]:
    """One error after another, whatever it sends."""
    way = world.by("agent/stubborn", model="failing")
    for number in range(ROW_MOST):
        body = chat(f"{number}", model="failing", max_tokens=5, sandbox={"fault": "overloaded"})
        ask(world.gateway, way.credential, body)
    yield way


@contextmanager
def _in_a_circle(world: Refusing) -> Iterator[Way]:
    """What was asked and answered often enough, with nothing new in between."""
    asked = {"role": "user", "content": "Is it done?"}
    way = world.by("agent/circling", messages=[asked, {"role": "assistant", "content": "Not yet."}, asked])
    for _ in range(CIRCLES):
        ask(world.gateway, way.credential, chat(max_tokens=5) | dict(way.given))
    yield way


@contextmanager
def _everything_stopped(world: Refusing) -> Iterator[Way]:
    asked = {"scope": "everything", "reason": "an incident"}
    world.gateway.admin("POST", "/stops", asked)
    yield world.by()
    world.gateway.admin("POST", "/stops/resume", asked)


@contextmanager
def _faulty(world: Refusing) -> Iterator[Way]:
    """A gateway with a fault of its own: one line of a copy of it divides by zero."""
    source = world.folder / "faulty-source"
    shutil.copytree(
        SRC / "comptroller", source / "comptroller", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    module, line = source / "comptroller" / "flow" / "permit.py", "    taken: set[Kind] = set()\n"
    assert module.read_text().count(line) == 1
    module.write_text(module.read_text().replace(line, f"{line}    1 // 0\n"))
    asked = [sys.executable, "-c", "import comptroller; print(comptroller.__file__)"]
    found = subprocess.run(asked, env={"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(source))
    with _own(world, "faulty", source=source) as gateway:
        yield Way(gateway.url, mint(gateway)["credential"])


def _text(size: int) -> list[Any]:
    return [{"role": "user", "content": "x" * size}]


OF_TOOLS = frozenset(
    {"server_unknown", "tool_unknown", "tool_forbidden", "tool_changed", "arguments_forbidden", "result_too_large"}
)
"""What only calls of tools meet, in words of MCP: test_mcp_refusals.py."""
WAYS: Mapping[str, Making] = {
    "credential_invalid": simply(lambda world: Way(world.gateway.url, "sk-" + "of-nobody")),
    "credential_expired": simply(lambda world: Way(world.gateway.url, world.expired)),
    "session_ended": simply(lambda world: Way(world.gateway.url, world.ended)),
    "credential_suspended": simply(lambda world: Way(world.gateway.url, world.credential_stopped["credential"])),
    "session_suspended": simply(lambda world: Way(world.gateway.url, world.session_stopped["credential"])),
    "identity_suspended": simply(lambda world: world.by("agent/halted")),
    "gateway_suspended": _everything_stopped,
    "identity_unknown": simply(lambda world: world.by("agent/gone")),
    "identity_expired": simply(lambda world: world.by("agent/late")),
    "owner_missing": simply(lambda world: world.by("agent/orphan")),
    "body_too_large": simply(lambda world: world.by(messages=_text(3 * MIB))),
    "body_timeout": _slowly,
    "gateway_busy": simply(lambda world: world.by(messages=_text(MIB + MIB // 2))),
    "request_invalid": simply(lambda world: world.by(messages=[])),
    "object_unknown": simply(lambda world: world.by(previous_response_id="resp_of-somebody")),
    "object_busy": _busily,
    "model_unknown": simply(lambda world: world.by(model="nobody-serves-this")),
    "model_suspended": simply(lambda world: world.by(model="halted")),
    "provider_unavailable": simply(lambda world: world.by("agent/walled")),
    "upstream_unavailable": _resting,
    "model_quarantined": simply(lambda world: world.by(model="sandbox-small")),
    "price_unknown": simply(lambda world: world.by(model="unpriced")),
    "estimate_unbounded": simply(lambda world: world.by(model="unbounded", messages=A_PICTURE)),
    "policy_forbidden": simply(lambda world: world.by(model="forbidden")),
    "no_permit": simply(lambda world: world.by("service/nobody")),
    "approval_required": simply(lambda world: world.by(model="asked-for")),
    "context_too_large": simply(lambda world: world.by(model="short")),
    "model_forbidden": simply(lambda world: Way(world.gateway.url, world.narrow, {})),
    "retry_limited": _again_and_again,
    "loop_detected": _in_a_circle,
    "session_limit": simply(lambda world: world.by("agent/brief")),
    "budget_exhausted": simply(lambda world: world.by("agent/poor")),
    "rate_unsatisfiable": simply(lambda world: world.by("agent/wordy")),
    "rate_limited": _too_fast,
    "ledger_unavailable": _disk_full,
    "draining": _stopping,
    "provider_credential_rejected": simply(lambda world: world.by(extra_body={"sandbox": {"fault": "unauthorized"}})),
    "upstream_failed": simply(lambda world: world.by(model="nowhere")),
    "upstream_timeout": simply(lambda world: world.by(model="mute")),
    "internal_error": _faulty,
}
