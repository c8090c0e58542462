"""Every fault on every surface: how the call is settled, against the provider's own bill, and what its caller sees.

What is expected stands in docs/faults.md, which is read here.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.caller import (
    Row,
    Said,
    ask,
    budget_of,
    eventually,
    mint,
    nanos,
    settled_row,
    stream,
    unanswered,
)
from tests.end_to_end.faulty import LIMIT, STREAMS, SURFACES, WHOLE, Surface, events_of
from tests.harness.configuration import Table, budget, media_prices, model, prices, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess

pytestmark = pytest.mark.processes

TAIL = 20
OUTPUT = 12
STOPS, STEADY = "stops", "steady"  # whether hanging up ends the bill
PATIENT, MUTE, SLOW = "patient", "mute", "slow"  # short patience for the first byte, or for each that follows
PATIENCE: Mapping[str, Row] = {PATIENT: {}, MUTE: {"first_byte_timeout_s": 1.0}, SLOW: {"idle_timeout_s": 1.0}}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")


class Fault(NamedTuple):
    """How the sandbox makes it happen, and how it stands in the books."""

    outcome: str
    options: Row
    patience: str = PATIENT
    leaves: bool = False


IN_STREAMS: Mapping[str, Fault] = {
    "nothing goes wrong": Fault("completed", {}),
    "the caller leaves before the first byte": Fault(
        "client_gone", {"fault": "slow_first_byte", "delay_s": 60}, leaves=True
    ),
    "the caller leaves in mid-stream": Fault("client_gone", {"fault": "hang", "after_tokens": 1}, leaves=True),
    "the provider says 429": Fault("provider_refused", {"fault": "rate_limited"}),
    "the provider says 529": Fault("provider_refused", {"fault": "overloaded"}),
    "the provider says 500, and bills": Fault("provider_error", {"fault": "server_error_billed"}),
    "the provider sends no HTTP": Fault("provider_malformed", {"fault": "not_http"}),
    "the provider cuts before its headers": Fault("provider_cut", {"fault": "cut_before_headers"}),
    "the provider cuts before the first content": Fault("provider_cut", {"fault": "cut", "after_tokens": 0}),
    "the provider cuts in mid-stream": Fault("provider_cut", {"fault": "cut"}),
    "the provider cuts after its usage": Fault("provider_cut", {"fault": "cut_after_usage"}),
    "the provider hangs before its headers": Fault("provider_timeout", {"fault": "hang"}, MUTE),
    "the provider hangs in mid-stream": Fault("provider_timeout", {"fault": "hang", "after_tokens": 3}, SLOW),
    "an error event before the first content": Fault("provider_error", {"fault": "error_in_stream", "after_tokens": 0}),
    "an error event in mid-stream": Fault("provider_error", {"fault": "error_in_stream"}),
    "a 529 in mid-stream": Fault("provider_error", {"fault": "overloaded_in_stream"}),
    "an event that is not JSON": Fault("provider_malformed", {"fault": "malformed_json"}),
    "an event of an unknown kind": Fault("completed", {"fault": "unknown_event"}),
    "the usage comes twice": Fault("completed", {"fault": "usage_twice"}),
    "a usage of zero is said": Fault("completed", {"fault": "usage_zero"}),
    "no usage comes": Fault("completed", {"fault": "no_usage"}),
    "one JSON answer instead of a stream, no usage": Fault("completed", {"fault": "not_streamed"}),
}
IN_WHOLE: Mapping[str, Fault] = {
    "nothing goes wrong": Fault("completed", {}),
    "the caller leaves before the answer": Fault(
        "client_gone", {"fault": "slow_first_byte", "delay_s": 60}, leaves=True
    ),
    "the provider says 429": Fault("provider_refused", {"fault": "rate_limited"}),
    "the provider says 529": Fault("provider_refused", {"fault": "overloaded"}),
    "the provider says 500, and bills": Fault("provider_error", {"fault": "server_error_billed"}),
    "the provider sends no HTTP": Fault("provider_malformed", {"fault": "not_http"}),
    "the provider cuts before its headers": Fault("provider_cut", {"fault": "cut_before_headers"}),
    "the provider cuts in the body": Fault("provider_cut", {"fault": "cut"}),
    "the provider hangs": Fault("provider_timeout", {"fault": "hang"}, MUTE),
    "half a JSON body": Fault("provider_malformed", {"fault": "malformed_json"}),
    "the usage comes twice": Fault("completed", {"fault": "usage_twice"}),
    "a usage of zero is said": Fault("completed", {"fault": "usage_zero"}),
    "no usage comes": Fault("completed", {"fault": "no_usage"}),
}


def table(after: str) -> dict[str, list[str]]:
    """The rows of the table that follows this heading, by their first cell."""
    lines = PAGE.partition(f"\n## {after}\n")[2].partition("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {first: rest for first, *rest in rows[2:]}


ON_STREAMS, ON_WHOLE = table("Streams"), table("Whole answers")


def test_the_page_and_this_file_know_the_same_faults() -> None:
    assert list(ON_STREAMS) == list(IN_STREAMS)
    assert list(ON_WHOLE) == list(IN_WHOLE)


def named(surface: Surface, kind: str, patience: str) -> str:
    return f"sandbox-{surface.model}-{kind}-{patience}"


def models() -> dict[str, Table]:
    """Each model of the sandbox once for each kind of provider and patience."""
    found: dict[str, Table] = {}
    for surface in SURFACES.values():
        for kind in (STOPS, STEADY):
            for patience in PATIENCE:
                entry = model(f"{kind}-{patience}", visible_output=kind == STOPS, max_output_tokens=LIMIT)
                name = named(surface, kind, patience)
                found[name] = entry | {"upstream_model": {f"{kind}-{patience}": f"sandbox-{surface.model}"}}
    return found


@pytest.fixture(scope="module")
def faulted(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    stops: Row = {"abort_stops_billing": True, "tail_tokens": TAIL}
    providers = {
        f"{kind}-{patience}": provider(sandbox_process.url, **(stops if kind == STOPS else {}), **given)
        for kind in (STOPS, STEADY)
        for patience, given in PATIENCE.items()
    }
    files = process(sandbox_process.url, providers=providers, limits={"finish_after_hangup_s": 0.2})
    known = registry([budget("all", "1000.00 USD")], models=models())
    known["prices"] = prices() + [{**line, "model": f"{line['model']}*"} for line in media_prices()]
    with GatewayProcess(tmp_path_factory.mktemp("faults"), files, known) as running:
        yield running
        assert "Traceback" not in running.log()


class World(NamedTuple):
    gateway: GatewayProcess
    sandbox: SandboxProcess


@pytest.fixture
def world(faulted: GatewayProcess, sandbox: SandboxProcess) -> World:
    return World(faulted, sandbox)


@pytest.mark.parametrize("fault", IN_STREAMS)
@pytest.mark.parametrize("surface", STREAMS)
def test_a_stream(world: World, surface: str, fault: str) -> None:
    with_tail, without, sees = ON_STREAMS[fault]
    each = SURFACES[surface]
    if not each.tokens:
        if fault.startswith("one JSON answer"):
            return  # they are one JSON answer, unless they are asked to stream
        strike(world, each, IN_STREAMS[fault], STEADY, True, without, sees)
        return
    strike(world, each, IN_STREAMS[fault], STOPS, True, with_tail, sees)
    strike(world, each, IN_STREAMS[fault], STEADY, True, without, sees)


@pytest.mark.parametrize("fault", IN_WHOLE)
@pytest.mark.parametrize("surface", WHOLE)
def test_a_whole_answer(world: World, surface: str, fault: str) -> None:
    charge, sees = ON_WHOLE[fault]
    for kind in (STOPS, STEADY):
        strike(world, SURFACES[surface], IN_WHOLE[fault], kind, False, charge, sees)


def strike(world: World, surface: Surface, fault: Fault, kind: str, as_stream: bool, charge: str, sees: str) -> None:
    """Let it happen once, and look at everything that it left behind."""
    gateway = world.gateway
    world.sandbox.reset_bill()
    before = nanos(budget_of(gateway, "all")["posted"])
    options = {"output_tokens": OUTPUT, **fault.options}
    asked = surface.asked(named(surface, kind, fault.patience), as_stream, options)
    said, call_id = leave(world, asked, fault) if fault.leaves else hear(gateway, asked)
    row = settled_row(gateway, call_id)
    (line,) = world.sandbox.settled(1)
    if fault.options.get("fault") == "usage_zero" and surface.shows_what_it_made:
        charge = "the hold"
    books(surface, fault, row, line, charge, as_stream)
    window = budget_of(gateway, "all")
    assert nanos(window["posted"]) - before == nanos(row["charge_usd"]), "it was settled once"
    assert nanos(window["held"]) == 0
    assert row["attempts"] == 1
    if said is not None:
        view(surface, said, row, as_stream, sees)


def leave(world: World, asked: tuple[str, bytes, Mapping[str, str]], fault: Fault) -> tuple[None, str]:
    """Hang up once the provider is at work; in mid-stream once some of it came."""
    gateway, (path, body, headers) = world.gateway, asked
    opened = mint(gateway)
    if fault.options["fault"] == "hang":
        with stream(gateway, opened["credential"], body, path=path, headers=headers) as response:
            response.readline()
            return None, response.headers["x-comptroller-call-id"]
    with unanswered(gateway, opened["credential"], body, path, headers=headers):
        eventually(lambda: world.sandbox.total()["requests"])
    (row,) = eventually(lambda: gateway.admin("GET", f"/calls?session={opened['session']}"))
    return None, row["id"]


def hear(gateway: GatewayProcess, asked: tuple[str, bytes, Mapping[str, str]]) -> tuple[Said, str]:
    path, body, headers = asked
    said = ask(gateway, mint(gateway)["credential"], body, path=path, headers=headers)
    return said, said.call_id


def books(surface: Surface, fault: Fault, row: Row, line: Line, charge: str, as_stream: bool) -> None:
    """How it was settled, and the charge against the bill."""
    ended = fault.outcome == "provider_cut" and charge == "exact" and surface.ends_with_usage
    passed = fault.options.get("fault") == "malformed_json" and surface.passes_any_text and not as_stream
    assert row["outcome"] == ("completed" if ended or passed else fault.outcome), row
    charged, held, billed = nanos(row["charge_usd"]), nanos(row["held_usd"]), int(line["charge_nanos"])
    assert row["presumed"] == (charge not in {"exact", "nothing"})
    if charge in {"exact", "nothing"}:
        assert charged == billed
        assert charge == "exact" or charged == 0
    elif charge == "what came":
        assert billed <= charged < held
    elif charge == "the hold":
        assert billed <= charged == held
    else:
        assert charge == "the limit"
        assert charged >= 15_000 * LIMIT  # more than the slice that is held at first
        assert charged >= held >= billed


def view(surface: Surface, said: Said, row: Row, as_stream: bool, sees: str) -> None:
    """What came to the caller."""
    if sees.isdecimal():
        half = sees == "502" and row["outcome"] == "completed"  # half a text is a text
        assert said.status == (200 if half else int(sees)), said.body
        assert ("x-comptroller-error-source" in said.headers) == (sees in {"429", "500", "529"})
        assert half or b'"error"' in said.body
        return
    assert said.status == 200, said.body
    if not as_stream or sees == "that answer":
        assert json.loads(said.body).get("error") is None
        return
    events = events_of(said.body)
    failed = surface.failed(events)
    if sees == "our error event, unless it had ended" and surface.ends_with_usage:
        sees = "the answer"
    if sees.startswith("our error event"):
        assert failed is not None, said.body
        assert "The provider" in failed
        assert surface.ended(events) is False
    elif sees == "the provider's error event":
        assert failed is not None, said.body
        assert "(sandbox fault)" in failed
    else:
        assert failed is None
        assert surface.ended(events), said.body
        assert sees != "the answer, with that event" or len(events) > 1
