"""Rows of budgets, calls, identities, bounds and the rest: what they say is what the gate and the books hold."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest

from comptroller.control import bounds, budgets, calls, changes, findings, identities, registry, status
from comptroller.control.interfaces import CallFilter
from comptroller.control.problem import ControlProblem
from comptroller.core.budget.bounds import Bound
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import BoundChanged, Finding
from tests.control.house import Broken, document, opened
from tests.harness.configuration import budget, identity, model

TODAY = datetime.now(UTC).date()


async def test_budgets_with_and_without_windows(tmp_path: Path) -> None:
    limits = [
        budget("pool", "1.00 USD", "month"),
        budget("each", "500 tokens", per="identity", scope={"team": ["red", "blue"]}),
        budget("idle", "3 calls", "day", scope={"team": "blue"}, mode="shadow"),
    ]
    async with opened(tmp_path, budgets=limits) as house:
        await house.spend(5_000_000)
        call = await house.hold(1_000_000, tokens=30)
        rows = {(row.name, row.instance): row for row in await budgets.list_budgets(house.office)}
        pool = rows["pool", ""]
        assert (pool.limit, pool.posted, pool.held, pool.remaining) == ("1.00", "0.005", "0.001", "0.994")
        assert pool.window_start is not None
        assert pool.resets_at is not None
        each = rows["each", "agent/ant"]
        assert (each.posted, each.held, each.remaining, each.window_start, each.resets_at) == (10, 30, 460, None, None)
        assert each.scope == {"team": ("blue", "red")}
        idle = rows["idle", ""]
        assert (idle.limit, idle.posted, idle.mode) == (3, 0, "shadow")
        call.settle(0)
    async with opened(tmp_path) as house:  # nothing was drawn yet: the books know
        rows = {(row.name, row.instance): row for row in await budgets.list_budgets(house.office)}
        assert rows["pool", ""].posted == "0.005"
        assert rows["each", "agent/ant"].posted == 20
        assert len(rows) == 3


async def test_calls_filtered(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ant = await house.hold(5)
        ant.settle(3, usage=Usage(6, 4, cached_tokens=2, reasoning_tokens=1))
        bee = await house.hold(5, identity="agent/bee", model="sandbox-small")
        bee.settle(5, end="presumed", outcome="client_gone")
        refused = await house.refuse(Refusal(code="model_unknown", sentence="No.", hint="Ask."))
        still = await house.hold(9)

        async def ids(**wanted: Any) -> list[str]:
            return [row.id for row in await calls.list_calls(house.office, CallFilter(**wanted))]

        every = await calls.list_calls(house.office, CallFilter())
        assert [row.outcome for row in every].count("open") == 1
        row = next(row for row in every if row.id == ant.facts.call_id)
        assert (row.charge_usd, row.held_usd, row.presumed) == ("0.000000003", "0.000000005", False)
        assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (6, 2, 4, 1)
        assert (row.provider, row.served_model, row.chain) == ("sandbox", "sandbox-large", ("agent/ant",))
        gone = next(row for row in every if row.id == bee.facts.call_id)
        assert (gone.outcome, gone.presumed, gone.team) == ("client_gone", True, "blue")
        assert await ids(identity="agent/bee") == [bee.facts.call_id]
        assert await ids(team="blue") == [bee.facts.call_id]
        assert await ids(model="sandbox-small") == [bee.facts.call_id]
        assert await ids(outcome="refused") == [refused]
        assert await ids(outcome="open") == [still.facts.call_id]
        assert await ids(since_ns=house.gate.clock.now_ns()) == []
        assert len(await ids(limit=2)) == 2
        no = next(row for row in every if row.id == refused)
        assert (no.outcome, no.refusal, no.charge_usd) == ("refused", "model_unknown", None)
        still.settle(0)


async def test_identities_and_what_will_stop_them(tmp_path: Path) -> None:
    def ends(days: int, **known: Any) -> Any:
        return identity("red", expires=TODAY + timedelta(days=days), **known)

    members = {
        "agent/fine": identity("red"),
        "agent/far": ends(31),
        "agent/month": ends(30),
        "agent/tomorrow": ends(1),
        "agent/today": ends(0),
        "agent/gone": ends(-1),
        "agent/grace": ends(-1, environment="production"),
        "agent/graceless": ends(-8, environment="production"),
        "agent/lost": identity("blue"),
        "agent/deputy": identity("blue", deputy="red-lead@acme.example"),
    }
    async with opened(tmp_path, identities=members) as house:
        await registry.apply(house.office, _without_owner(members, "blue-lead@acme.example"), "test")
        rows = {row.id: row for row in identities.list_identities(house.office)}
        house.gate.registry.owners = {}
        orphans = {row.id: row.state for row in identities.list_identities(house.office)}
        assert orphans["agent/fine"] == "ownerless"
    states = {key: row.state for key, row in rows.items()}
    assert states["agent/gone"] == states["agent/graceless"] == "expired"
    assert states["agent/lost"] == "disabled"
    said = {key: row.warnings for key, row in rows.items()}
    assert not any((said["agent/fine"], said["agent/far"], said["agent/gone"]))
    assert said["agent/month"][0].startswith("expires in 30 days")
    assert said["agent/tomorrow"][0].startswith("expires tomorrow")
    assert said["agent/today"][0].startswith("expires today")
    assert "refused from" in said["agent/grace"][0]
    assert rows["agent/fine"].spiffe_id == "spiffe://acme.example/agent/fine"


def _without_owner(members: dict[str, Any], owner: str) -> str:
    """A file in which this owner, and who has nobody else, are gone."""
    kept = {key: each for key, each in members.items() if each["owner"] != owner}
    return document(identities=kept)


async def test_a_disabled_identity_loses_its_calls_in_flight(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ant, bee = await house.hold(1), await house.hold(1, identity="agent/bee")
        await registry.apply(house.office, document(identities={"agent/ant": identity("red")}), "test")
        assert (ant.live.line.reason, bee.live.line.reason) == (None, "stopped")
        for call in (ant, bee):
            call.settle(0)


async def test_bounds_and_resume(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        key = ("sandbox", "meta/llama", "openai_chat")
        house.gate.bounds[key] = Bound(*key, overruns=3, factor_bp=15_000, quarantined=True)
        house.gate.bounds["sandbox", "other", "openai_chat"] = Bound("sandbox", "other", "openai_chat", overruns=1)
        assert [(row.model, row.factor, row.quarantined) for row in bounds.list_bounds(house.office)] == [
            ("meta/llama", "1.50", True),
            ("other", "1.00", False),
        ]
        overrun = BoundChanged(house.gate.clock.now_ns(), "gateway", "overrun", *key, 3, 15_000, quarantined=True)
        house.gate.journal.append(overrun)
        assert (await status.show_status(house.office)).quarantined == ["sandbox/meta/llama/openai_chat"]
        (row,) = await bounds.resume(house.office, "sandbox", "meta/llama", "looked at it", "admin")
        assert (row.quarantined, row.overruns, row.factor) == (False, 0, "1.50")
        await house.store.fold()
        assert [each for each in await house.store.bounds() if each.model == "meta/llama"] == [house.gate.bounds[key]]
        with pytest.raises(ControlProblem, match="is not quarantined"):
            await bounds.resume(house.office, "sandbox", "other", "why not", "admin")
        change, _ = [each for each in await changes.list_changes(house.office) if each.noun == "bound"]
        assert (change.verb, change.actor, change.reason) == ("resume", "admin", "looked at it")


async def test_a_resume_that_cannot_be_written_opens_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        key = ("sandbox", "m", "openai_chat")
        house.gate.bounds[key] = Bound(*key, overruns=3, quarantined=True)
        house.gate.journal = Broken(house.store.journal, LedgerUnavailableError("disk full"))
        with pytest.raises(ControlProblem, match="stays quarantined"):
            await bounds.resume(house.office, "sandbox", "m", "looked at it", "admin")
        assert house.gate.bounds[key].quarantined


async def test_an_overrun_during_a_resume_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        key = ("sandbox", "m", "openai_chat")
        before = house.gate.bounds[key] = Bound(*key, overruns=3, quarantined=True)
        worse = Bound(*key, overruns=4, factor_bp=20_000, quarantined=True)
        journal = house.store.journal

        class Overrunning:
            epoch = journal.epoch

            def commit(self, event: Any) -> Any:
                future = journal.commit(event)
                house.gate.bounds[key] = worse
                return future

        house.gate.journal = Overrunning()  # type: ignore[assignment]
        (row,) = await bounds.resume(house.office, "sandbox", "m", "looked at it", "admin")
        assert before.quarantined
        assert (row.quarantined, row.overruns) == (True, 4)


async def test_findings_changes_and_status(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.gate.journal.append(Finding(house.gate.clock.now_ns(), "overrun", "call_1", "sandbox/m", "Billed above."))
        (row,) = await findings.list_findings(house.office)
        assert (row.code, row.call, row.subject, row.sentence) == ("overrun", "call_1", "sandbox/m", "Billed above.")
        assert {each.noun for each in await changes.list_changes(house.office)} >= {"organization", "identity", "model"}
        call = await house.hold(1)
        found = await status.show_status(house.office)
        assert (found.ledger, found.organization, found.registry_version) == ("ok", "acme", 1)
        assert (found.live_calls, found.open_holds, found.identities, found.serving) == (1, 1, 2, False)
        assert found.providers[0].base_url == "http://127.0.0.1:8788"
        call.settle(0)


async def test_a_plan_and_what_comes_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        text = document(budgets=[budget("new", "1.00 USD")])
        planned = await registry.show_plan(house.office, text)
        assert not planned.applied
        assert [change.sentence.split(":")[0] for change in planned.changes] == ["add budget new"]
        assert (await house.store.registry()).version == 1
        with pytest.raises(ControlProblem, match="the plan was made for version 7"):
            await registry.apply(house.office, text, "kim", 7)
        done = await registry.apply(house.office, text, "kim", planned.version)
        assert (done.applied, done.version, done.changes) == (True, 2, planned.changes)
        (change,) = await house.store.changes(1)
        assert (change.actor, change.verb, change.noun, change.key, change.version) == (
            "kim",
            "add",
            "budget",
            "new",
            2,
        )
        again = await registry.apply(house.office, text, "kim")
        assert (again.applied, again.version, again.changes) == (False, 2, [])
    async with opened(tmp_path) as house:
        assert [each.name for each in house.gate.registry.budgets] == ["new"]


async def test_calls_go_on_while_a_document_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry of a hundred thousand identities takes half a minute to read: not on the thread of the calls."""
    asked: set[int] = set()

    class Watched(dict[str, Any]):
        def __contains__(self, key: object) -> bool:
            asked.add(get_ident())
            return super().__contains__(key)

    async with opened(tmp_path) as house:
        monkeypatch.setattr(Gate, "model_providers", Watched.fromkeys(house.gate.model_providers))
        await registry.show_plan(house.office, document(budgets=[budget("new", "1.00 USD")]))
        await registry.apply(house.office, document(budgets=[budget("new", "1.00 USD")]), "kim")
    assert asked
    assert get_ident() not in asked


async def test_every_fault_of_a_file_is_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        text = document(
            identities={"agent/ant": identity("red", kind="robot", colour="red")},
            models={"sandbox-*": model("sandbox"), "gpt-*": model("openai", "sandbx")},
        )
        with pytest.raises(ControlProblem) as caught:
            await registry.apply(house.office, text, "kim")
        assert caught.value.code == "registry_invalid"
        assert len(caught.value.details) == 2
        with pytest.raises(ControlProblem) as caught:
            await registry.show_plan(house.office, document(models={"gpt-*": model("openai", "sandbx")}))
        assert len(caught.value.details) == 2
        assert "Did you mean 'sandbox'?" in caught.value.details[1]
        assert (await house.store.registry()).version == 1


async def test_a_new_trust_domain_reaches_whoever_signs(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await house.apply(organization={"name": "acme", "trust_domain": "new.example"})
        assert house.keyring.trust_domain == "new.example"
