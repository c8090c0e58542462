"""`comptroller.client` against a real gateway: sessions and their outcomes, children, clients, refusals."""

import asyncio
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from comptroller.client import GatewayUnreachable, Outcome, Refused, Session, Work, open_session
from tests.end_to_end.caller import ask, budget_of, eventually, mint
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SRC, SandboxProcess

ASK: Any = {"model": "sandbox-small", "messages": [{"role": "user", "content": "Tell me about children."}]}
MESSAGE: Any = {**ASK, "max_tokens": 100}
CONTENTS: Any = {"model": "sandbox-small", "contents": "Tell me about children."}
SLOW: Any = {"sandbox": {"tokens_per_s": 5, "output_tokens": 90}}


def begin(gateway: GatewayProcess, name: str = "agent/ant", **given: Any) -> Session:
    """The session of a fresh credential."""
    return open_session(gateway.url, credential=mint(gateway, name, **given)["credential"])


def row_of(gateway: GatewayProcess, session: Session) -> dict[str, Any]:
    return gateway.admin("GET", f"/sessions/{session.id}")


# How a block comes out.


class Interrupt(BaseException):
    """Like KeyboardInterrupt, which pytest takes for itself."""


@pytest.mark.parametrize(
    ("raised", "outcome", "reason"),
    [(None, "succeeded", "done"), (ValueError("no"), "failed", "ValueError"), (Interrupt(), "abandoned", "Interrupt")],
)
def test_leaving_a_block_says_how_the_session_came_out(
    gateway: GatewayProcess, raised: BaseException | None, outcome: Outcome, reason: str
) -> None:
    with begin(gateway) as root:
        caught = None
        child = root.child("scout")
        try:
            with child:
                if raised is not None:
                    raise raised
        except (ValueError, Interrupt) as error:
            caught = error
        assert caught is raised
        row = row_of(gateway, child)
        assert (row["state"], row["outcome"], row["ended_reason"]) == ("ended", outcome, reason)
        assert (row["name"], row["parent"], row["ended_by"]) == ("agent/ant/~scout", root.id, "agent/ant/~scout")


async def test_without_waiting_it_is_the_same_and_what_is_cancelled_is_abandoned(gateway: GatewayProcess) -> None:
    inside = asyncio.Event()

    async def work(child: Session) -> None:
        async with child:
            inside.set()
            await asyncio.Event().wait()

    async with begin(gateway) as root:
        async with root.child("quick") as quick:
            assert quick.name == "agent/ant/~quick"
        slow = root.child("slow")
        task = asyncio.create_task(work(slow))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (row_of(gateway, quick)["outcome"], row_of(gateway, slow)["outcome"]) == ("succeeded", "abandoned")


def test_what_was_handed_out_is_closed_only_when_it_is_said(gateway: GatewayProcess) -> None:
    with begin(gateway) as root:
        pass
    assert row_of(gateway, root)["state"] == "active"
    with root:
        root.close("abandoned", "nothing to do")
    row = row_of(gateway, root)
    assert (row["state"], row["outcome"], row["ended_reason"]) == ("ended", "abandoned", "nothing to do")
    root.close()  # what is over stays as it ended
    assert row_of(gateway, root)["outcome"] == "abandoned"


# Children.


def test_a_child_has_less_than_its_parent_and_spends_for_both(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    with begin(gateway) as root:
        bounded = root.child("one", bounds={"model_calls": 1}, models=["sandbox-small"], task_type="ticket", task="T-1")
        with bounded as one:
            client = one.openai()
            assert client.chat.completions.create(**ASK).choices[0].message.content
            row = one.show()
            assert (row["bounds"]["model_calls"], row["models"], row["task"]) == (1, ["sandbox-small"], "T-1")
            with pytest.raises(Refused) as wider, one.child(models=["sandbox-large"]):
                pass
            assert wider.value.code == "delegation_widened"
        (line,) = sandbox.settled()
        tree = gateway.admin("GET", f"/sessions/{root.id}/tree")
    assert [(node["name"], node["spent"]["model_calls"]) for node in (tree, *tree["children"])] == [
        ("agent/ant", 1),
        ("agent/ant/~one", 1),
    ]
    assert tree["spent"]["usd"] == tree["children"][0]["spent"]["usd"]
    assert line["charge_nanos"] != "0"


def test_a_credential_is_renewed_before_it_ends_as_long_as_its_session_goes_on(gateway: GatewayProcess) -> None:
    with begin(gateway) as root, root.child("long", lifetime_s=6) as child:
        client, first = child.openai(), child.credential()
        second = next_credential(child, first)
        assert open_session(gateway.url, credential=second).open().id == child.id
        assert client.chat.completions.create(**ASK).choices
        events = [event for event in gateway.admin("GET", "/changes?limit=1000") if event["key"] == child.id]
        assert ("mint", "credential", root.name) in {(each["verb"], each["noun"], each["actor"]) for each in events}


def test_google_s_client_has_the_credential_of_now(gateway: GatewayProcess) -> None:
    with begin(gateway) as root, root.child("long", lifetime_s=6) as child, child.gemini() as client:
        first = child.credential()
        next_credential(child, first)
        ended = eventually(lambda: ask(gateway, first, json.dumps(ASK).encode()).status == 401)
        assert ended
        assert client.models.generate_content(**CONTENTS).candidates


def test_one_that_would_end_no_later_is_not_asked_for_again(gateway: GatewayProcess) -> None:
    with begin(gateway) as root, root.child("short", bounds={"wall_clock_s": 10}) as child:
        last = next_credential(child, child.credential())
        assert child.credential() == last


def test_one_that_ended_when_its_credential_was_due_is_closed_all_the_same(gateway: GatewayProcess) -> None:
    with begin(gateway) as root:
        child = root.child("gone", lifetime_s=2).open()
        gateway.admin("POST", f"/sessions/{child.id}/end", {"reason": "enough"})
        eventually(lambda: child._open.due)
        child.close("failed")
    assert row_of(gateway, child)["outcome"] == "stopped"


def test_a_gateway_on_this_machine_is_not_asked_through_a_proxy(
    gateway: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be handed the credential."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with begin(gateway) as root:
        assert root.show()["state"] == "active"


def test_nobody_renews_its_own(gateway: GatewayProcess) -> None:
    with begin(gateway) as root:
        for what, sent in (("credential", {}), ("renew", {"bounds": {"usd": "9.00"}})):
            said = ask(
                gateway, root.credential(), json.dumps(sent).encode(), path=f"/comptroller/v1/sessions/self/{what}"
            )
            assert (said.status, json.loads(said.body)["code"]) == (403, "delegation_widened")


def next_credential(session: Session, last: str) -> str:
    """The one after this, which comes once half of its life is over."""
    return eventually(lambda: found if (found := session.credential()) != last else None)


# Where the first session comes from.


@pytest.fixture(scope="module")
def federated(
    sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GatewayProcess, IssuerProcess]]:
    with IssuerProcess() as issuer:
        issuers = {"main": {"kind": "oidc", "url": issuer.url, "audience": AUDIENCE, "algorithms": ["RS256"]}}
        known = identity("red", federated=[{"issuer": "main", "subject": "workload-1"}])
        entries = registry([budget("all", "10.00 USD")], {"agent/ant": known}, issuers=issuers)
        folder = tmp_path_factory.mktemp("federated")
        with GatewayProcess(folder, process(sandbox_process.url), entries) as running:
            yield running, issuer


def test_a_workload_exchanges_the_token_in_its_file_for_a_session_of_its_own(
    federated: tuple[GatewayProcess, IssuerProcess], tmp_path: Path
) -> None:
    gateway, issuer = federated
    file = tmp_path / "token"
    file.write_text(issuer.token(sub="workload-1") + "\n")
    environ = {"COMPTROLLER_URL": gateway.url, "COMPTROLLER_TOKEN_FILE": str(file)}
    work: Work = {"task_type": "ticket", "task": "T-1", "bounds": {"model_calls": 2}, "lifetime_s": 2}
    with open_session(environ=environ, **work) as root:
        assert root.name == "agent/ant"
        first = root.credential()
        file.write_text(issuer.token(sub="workload-1", jti="another"))
        assert next_credential(root, first)
        assert root.openai().chat.completions.create(**ASK).choices
    row = row_of(gateway, root)
    assert (row["outcome"], row["minted_by"]) == ("succeeded", "main:workload-1")
    assert (row["task_type"], row["task"], row["bounds"]["model_calls"]) == ("ticket", "T-1", 2)
    file.write_text(issuer.token(sub="nobody"))
    with pytest.raises(Refused) as stranger, open_session(environ=environ):
        pass
    assert stranger.value.code == "identity_unmatched"
    assert "nobody" in stranger.value.message


def test_a_close_that_cannot_be_said_does_not_hide_what_went_wrong(
    federated: tuple[GatewayProcess, IssuerProcess],
) -> None:
    gateway, _ = federated

    def work(fault: Exception | None) -> None:
        with begin(gateway) as root, root.child():
            gateway.sigterm()
            if fault is not None:
                raise fault

    with pytest.raises(ValueError, match="the real fault") as caught:
        work(ValueError("the real fault"))
    assert "could not be closed: No gateway answers" in caught.value.__notes__[0]
    gateway.restart()
    with pytest.raises(GatewayUnreachable):
        work(None)
    gateway.restart()


def test_a_credential_stands_in_the_environment(gateway: GatewayProcess) -> None:
    minted = mint(gateway)
    environ = {"COMPTROLLER_URL": gateway.url, "COMPTROLLER_CREDENTIAL": minted["credential"]}
    with open_session(environ=environ) as root:
        assert (root.id, root.name, root.credential()) == (minted["session"], "agent/ant", minted["credential"])
    with pytest.raises(ValueError, match="is open already"):
        open_session(environ=environ, task="T-1")
    with pytest.raises(ValueError, match="COMPTROLLER_CREDENTIAL"):
        open_session(environ={})


# The packages' clients.


def test_every_client_calls_with_the_credential_of_its_session(
    gateway: GatewayProcess, sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "somebody-elses")
    monkeypatch.setenv("OPENAI_API_KEY", "somebody-elses")
    monkeypatch.setenv("GEMINI_API_KEY", "somebody-elses")
    # Of a gateway on this machine: it would be handed the credential.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def call(session: Session) -> None:
        async with (
            session.async_openai() as chat,
            session.async_anthropic() as messages,
            session.gemini().aio as gemini,
        ):
            await chat.chat.completions.create(**ASK)
            await messages.messages.create(**MESSAGE)
            await gemini.models.generate_content(**CONTENTS)

    with begin(gateway) as root:
        with root.openai() as chat, root.anthropic() as messages, root.gemini() as gemini:
            chat.chat.completions.create(**ASK)
            messages.messages.create(**MESSAGE)
            gemini.models.generate_content(**CONTENTS)
            assert (chat.max_retries, messages.max_retries, root.openai(max_retries=5).max_retries) == (1, 1, 5)
        asyncio.run(call(root))
        assert root.show()["spent"]["model_calls"] == 6
    assert {line["surface"] for line in sandbox.settled(6)} == {"chat", "messages", "gemini"}


def test_it_needs_nothing_but_python() -> None:
    program = "import comptroller.client, sys; print({'openai', 'anthropic', 'google.genai'} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


# What a refusal says.


def by_openai(session: Session, **more: Any) -> None:
    session.openai().chat.completions.create(**{**ASK, "model": "sandbox-large", "max_tokens": 4000, **more})


def by_anthropic(session: Session, **more: Any) -> None:
    session.anthropic().messages.create(**{**MESSAGE, "model": "sandbox-large", "max_tokens": 4000, **more})


def by_gemini(session: Session, **more: Any) -> None:
    config = {"max_output_tokens": 4000}
    with session.gemini() as client:  # it closes when nobody has it any more
        client.models.generate_content(**{**CONTENTS, "model": "sandbox-large", "config": config, **more})


@pytest.mark.parametrize("call", [by_openai, by_anthropic, by_gemini])
def test_a_refusal_is_read_from_what_an_sdk_raised_and_from_what_that_led_to(
    gateway: GatewayProcess, call: Callable[[Session], None]
) -> None:
    def framework(session: Session) -> None:
        try:
            call(session)
        except Exception as error:
            raise RuntimeError("the agent failed") from error

    with begin(gateway, "agent/poor") as poor, pytest.raises(RuntimeError) as raised:
        framework(poor)
    no = Refused.of(raised.value)
    assert no is not None
    assert (no.code, no.status, no.limit, no.unit) == ("budget_exhausted", 402, "poor-day", "usd")
    assert no.left == budget_of(gateway, "poor-day")["remaining"]
    assert no.resets_at is not None
    assert no.hint
    assert no.hint not in no.message
    assert no.call_id is not None
    assert no.call_id.startswith("call_")


def chunks_of_openai(session: Session) -> Iterator[Any]:
    return iter(session.openai().chat.completions.create(**ASK, stream=True, extra_body=SLOW))


def chunks_of_anthropic(session: Session) -> Iterator[Any]:
    return iter(session.anthropic().messages.create(**MESSAGE, stream=True, extra_body=SLOW))


@pytest.mark.parametrize("chunks_of", [chunks_of_openai, chunks_of_anthropic])
def test_a_refusal_inside_a_stream_is_read_as_well(
    gateway: GatewayProcess, chunks_of: Callable[[Session], Iterator[Any]]
) -> None:
    root = begin(gateway).open()
    chunks = chunks_of(root)
    next(chunks)
    gateway.admin("POST", f"/sessions/{root.id}/end", {"reason": "loops"})
    with pytest.raises(Exception, match="stopped in flight") as raised:
        list(chunks)
    no = Refused.of(raised.value)
    assert no is not None
    assert (no.code, no.status) == ("session_ended", None)


def test_what_is_no_refusal_of_the_gateway_is_none() -> None:
    assert Refused.of(ValueError("no")) is None


def test_a_session_that_was_ended_is_refused_by_its_code(gateway: GatewayProcess) -> None:
    root = begin(gateway).open()
    gateway.admin("POST", f"/sessions/{root.id}/end", {"reason": "loops"})
    with pytest.raises(Refused) as ended:
        root.show()
    assert (ended.value.code, ended.value.status) == ("session_ended", 403)


def test_nobody_there_and_somebody_else_there_are_told_apart(gateway: GatewayProcess) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(GatewayUnreachable, match="COMPTROLLER_URL"), open_session(_url(free), credential="x"):
            pass
    with pytest.raises(Refused, match="This is no gateway"), open_session(f"{gateway.url}/v1", credential="x"):
        pass
    with pytest.raises(ValueError, match="no address"):
        open_session("gateway.acme.example", credential="x")


def test_a_redirect_takes_the_credential_nowhere() -> None:
    seen: list[str] = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("location", "/somewhere-else")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - as the base class calls it

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(Refused), open_session(_url(server.socket), credential="x"):
                pass
        finally:
            server.shutdown()
    assert seen == ["/oauth/introspect"]


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"
