"""What a request names by its id is the caller's own, whatever it is: else nothing is sent, and nobody learns why."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, nanos, settled_row
from tests.harness.configuration import budget, identity, media_prices, model, prices, process, provider, registry
from tests.harness.forms import FORM_TYPE, form
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

TEXT = b"What is held is not spent. " * 20
MEMBERS = {"agent/ant": identity("red"), "agent/wasp": identity("blue"), "agent/free": identity("blue")}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry([budget("all", "100.00 USD")], MEMBERS, prices=[*prices(), *media_prices()])
    with GatewayProcess(tmp_path_factory.mktemp("named"), process(sandbox_process.url), files) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: object) -> str:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})["credential"]


def upload(gateway: GatewayProcess, credential: str, name: str = "file.txt", text: bytes = TEXT, **headers: str) -> str:
    body = form({"file": text, "purpose": "user_data"}).replace(b"file.wav", name.encode())
    kind = {"content-type": FORM_TYPE.decode(), **headers}
    said = ask(gateway, credential, body, path="/v1/files", headers=kind)
    assert said.status == 200, said
    return json.loads(said.body)["id"]


def with_part(**part: Any) -> Row:
    return {"model": "sandbox-large", "input": [{"role": "user", "content": [part]}], "max_output_tokens": 16}


def with_item(**item: Any) -> Row:
    return {"model": "sandbox-large", "input": [item, {"role": "user", "content": "x"}], "max_output_tokens": 16}


def with_tool(**tool: Any) -> Row:
    return {"model": "sandbox-large", "input": "x", "tools": [tool], "max_tool_calls": 1}


RESPONSES, CHAT, MESSAGES = "/v1/responses", "/v1/chat/completions", "/v1/messages"
GEMINI, COUNT = "/v1beta/models/sandbox-large:generateContent", "/v1beta/models/sandbox-large:countTokens"


def said_by_user(part: Any) -> Row:
    return {"messages": [{"role": "user", "content": [part]}], "model": "sandbox-large", "max_tokens": 16}


def gemini(part: Any) -> Row:
    return {"contents": [{"role": "user", "parts": [part]}]}


# By path, bodies that name "ID", one for each way to name something.
NAMING: list[tuple[str, Row]] = [
    (RESPONSES, with_part(type="input_file", file_id="ID")),
    (RESPONSES, with_part(type="input_image", file_id="ID")),
    (RESPONSES, with_part(type="newIn2027", deep=[{"file_id": "ID"}])),
    (RESPONSES, {"model": "sandbox-large", "input": "x", "vector_store_ids": ["ID"]}),
    (CHAT, chat() | {"tool_resources": {"file_search": {"vector_store_ids": ["ID"]}}}),
    (RESPONSES, with_item(type="item_reference", id="ID")),
    (RESPONSES, with_item(type="reasoning", id="ID", summary=[])),
    (RESPONSES, with_item(type="code_interpreter_call", id="ci_1", code="1", container_id="ID")),
    (RESPONSES, with_tool(type="file_search", vector_store_ids=["ID"])),
    (RESPONSES, with_tool(type="code_interpreter", container="ID")),
    (RESPONSES, with_tool(type="code_interpreter", container={"type": "auto", "file_ids": ["ID"]})),
    (RESPONSES, {"model": "sandbox-large", "input": "x", "conversation": "ID"}),
    (RESPONSES, {"model": "sandbox-large", "input": "x", "conversation": {"id": "ID"}}),
    (CHAT, chat() | said_by_user({"type": "file", "file": {"file_id": "ID"}})),
    ("/v1/images/edits", {"model": "sandbox-image", "prompt": "x", "images": [{"file_id": "ID"}]}),
    (MESSAGES, said_by_user({"type": "document", "source": {"type": "file", "file_id": "ID"}})),
    (MESSAGES, said_by_user({"type": "image", "source": {"type": "file", "file_id": "ID"}})),
    (MESSAGES, said_by_user({"type": "container_upload", "file_id": "ID"})),
    (MESSAGES, said_by_user({"type": "text", "text": "x"}) | {"container": "ID"}),
    (f"{MESSAGES}/count_tokens", said_by_user({"type": "document", "source": {"type": "file", "file_id": "ID"}})),
    (GEMINI, gemini({"fileData": {"fileUri": "files/ID"}})),
    (GEMINI, gemini({"text": "x"}) | {"cachedContent": "cachedContents/ID"}),
    (GEMINI, gemini({"text": "x"}) | {"tools": [{"fileSearch": {"fileSearchStoreNames": ["ID"]}}]}),
    (COUNT, gemini({"file_data": {"file_uri": "files/ID"}})),
]


def naming(body: Row, name: str) -> Row:
    return json.loads(json.dumps(body).replace("ID", name))


def send(gateway: GatewayProcess, credential: str, path: str, body: Row) -> Said:
    return ask(gateway, credential, body, path=path, headers={"anthropic-version": "2023-06-01"})


def refusal(said: Said) -> tuple[int, str, str]:
    return said.status, said.headers.get("x-comptroller-refusal", ""), said.error["message"]


@pytest.mark.parametrize(("path", "body"), NAMING)
def test_what_is_anothers_is_refused_as_what_never_was(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, body: Row
) -> None:
    wasp = opened(gateway, "agent/wasp")
    mine = upload(gateway, opened(gateway))
    seen = len(sandbox.requests())
    of_mine, of_none = (refusal(send(gateway, wasp, path, naming(body, name))) for name in (mine, "file-of-nobody"))
    assert of_mine[:2] == (402, "object_unknown")
    assert of_mine == of_none
    assert len(sandbox.requests()) == seen, "nothing was asked of the provider"


def test_a_text_is_held_for_its_size_and_not_for_a_whole_context(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    ant = opened(gateway)
    held = {}
    for name in ("file.txt", "file.pdf"):
        body = with_part(type="input_file", file_id=upload(gateway, ant, name))
        said = send(gateway, ant, RESPONSES, body)
        assert said.status == 200, said
        row = settled_row(gateway, said.call_id)
        assert charged(sandbox.settled()[-1:]) == nanos(row["charge_usd"]) <= nanos(row["held_usd"])
        assert row["input_tokens"] > 50, "the provider read the file"
        held[name] = nanos(row["held_usd"])
    assert held["file.txt"] < 10_000_000
    assert held["file.pdf"] > 300_000_000, "what a document is unpacked to is not in its bytes"


def test_one_of_several_that_is_anothers_is_enough(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    ant, wasp = opened(gateway), opened(gateway, "agent/wasp")
    mine, theirs = upload(gateway, ant), upload(gateway, wasp)
    body = with_part(type="input_file", file_id=mine)
    body["input"][0]["content"].append({"type": "input_file", "file_id": mine})
    assert send(gateway, ant, RESPONSES, body).status == 200
    body["input"][0]["content"].append({"type": "input_file", "file_id": theirs})
    assert refusal(send(gateway, ant, RESPONSES, body))[:2] == (402, "object_unknown")


@pytest.mark.parametrize("stream", [False, True])
def test_an_item_of_a_stored_response_is_its_makers(
    gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    ant, wasp = opened(gateway), opened(gateway, "agent/wasp")
    first = send(gateway, ant, RESPONSES, {"model": "sandbox-large", "input": "Tell me.", "stream": stream})
    if stream:
        (last,) = [line[6:] for line in first.body.splitlines() if b'"type":"response.completed"' in line]
        whole = json.loads(last)["response"]
    else:
        whole = json.loads(first.body)
    settled_row(gateway, first.call_id)
    item = whole["output"][-1]["id"]
    body = with_item(type="item_reference", id=item)
    again = send(gateway, ant, RESPONSES, body)
    assert again.status == 200, again
    assert nanos(settled_row(gateway, again.call_id)["held_usd"]) < 50_000_000, "no more than the response was"
    assert refusal(send(gateway, wasp, RESPONSES, body))[:2] == (402, "object_unknown")
    gateway.kill9()
    gateway.start()
    assert send(gateway, ant, RESPONSES, body).status == 200
    assert refusal(send(gateway, wasp, RESPONSES, body))[:2] == (402, "object_unknown")
    assert ask(gateway, ant, b"", path=f"/v1/responses/{whole['id']}", method="DELETE").status == 200
    assert refusal(send(gateway, ant, RESPONSES, body))[:2] == (402, "object_unknown")


def test_a_call_goes_to_the_provider_that_has_the_file(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with SandboxProcess() as second:
        files = process(sandbox.url, providers={"first": provider(sandbox.url), "second": provider(second.url)})
        models = {"sandbox-*": model("first", "second")}
        with GatewayProcess(tmp_path, files, registry([budget("all", "100.00 USD")], MEMBERS, models)) as gateway:
            ant = opened(gateway)
            here, there = (upload(gateway, ant, **{"x-comptroller-provider": name}) for name in ("first", "second"))
            said = send(gateway, ant, RESPONSES, with_part(type="input_file", file_id=there))
            assert said.status == 200, said
            assert [line["surface"] for line in second.settled()] == ["files", "responses"]
            body = with_part(type="input_file", file_id=here)
            body["input"][0]["content"].append({"type": "input_file", "file_id": there})
            scattered = send(gateway, ant, RESPONSES, body)
            assert refusal(scattered)[:2] == (402, "provider_unavailable")
            assert "different providers" in scattered.error["message"]


def test_what_is_named_often_is_held_as_often(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """A provider reads a file into the prompt each time that it is named."""
    key = opened(gateway)
    part = {"type": "input_file", "file_id": upload(gateway, key, text=TEXT * 20)}
    body = {"model": "sandbox-large", "input": [{"role": "user", "content": [part] * 40}], "max_output_tokens": 16}
    said = ask(gateway, key, body, path=RESPONSES)
    assert said.status == 200, said
    row = settled_row(gateway, said.call_id)
    assert 0 < nanos(row["charge_usd"]) == charged(sandbox.settled()) <= nanos(row["held_usd"])
