"""Named admins: made, rotated, disabled, expired, remembered; and what the bootstrap credential still opens."""

from pathlib import Path
from typing import Any

import pytest

from comptroller.control import admins, api
from comptroller.control.attempts import MOST_WRONG, WINDOW_S, Attempts
from comptroller.control.door import Outside
from comptroller.control.logins import LOGINS_MOST, Login, Logins
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.admin import RESERVED, is_admin_name
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.asgi import ADMIN, Admin, Said, ask
from tests.control.house import House, opened

STATUS = "/api/v1/status"
FAR = ("203.0.113.9", 5)


async def add(house: House, name: str, role: Any = "admin", lifetime_s: int | None = None) -> str:
    return (await admins.add(house.office, name, role, lifetime_s, None, None, "test")).credential or ""


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def look(house: House, credential: str | None, **how: Any) -> Said:
    return await ask(api.build(house.office, Outside(Admin())), "GET", STATUS, credential=credential, **how)


async def test_the_bootstrap_credential_ends_with_the_first_named_admin_of_role_admin(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        assert (await look(house, ADMIN)).status == 200
        await add(house, "olga", "operator")
        assert (await look(house, ADMIN)).status == 200, "an operator makes no admins"
        own = await add(house, "ada")
        said = await look(house, ADMIN)
        assert (said.status, said.code) == (403, "bootstrap_ended")
        assert "Ask ada." in said.body["hint"]
        assert "olga" not in said.body["hint"]
        assert (await look(house, own)).status == 200
    async with opened(tmp_path) as house:
        assert (await look(house, ADMIN)).code == "bootstrap_ended"
        assert (await look(house, own)).status == 200


async def test_what_is_kept_of_a_credential_is_no_credential(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        own = await add(house, "ada")
        await house.store.fold()
        said = str(await house.store.changes(10)) + str(admins.list_admins(house.office))
    assert own.startswith("cptradm_")
    assert own.encode() not in everything_in(tmp_path)
    assert own not in said


async def test_a_named_admin_may_come_from_elsewhere_and_the_bootstrap_credential_may_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        own = await add(house, "vera", "viewer")
        assert (await look(house, own, client=FAR)).status == 200
        assert (await look(house, own, headers={"x-forwarded-for": "203.0.113.9"})).status == 200
        assert (await look(house, ADMIN, client=FAR)).code == "client_forbidden"
        assert (await look(house, ADMIN, headers={"x-forwarded-for": "203.0.113.9"})).code == "client_forbidden"
        assert (await look(house, None, client=FAR)).code == "credential_missing"


async def test_a_new_credential_ends_the_old_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        old = await add(house, "ada", lifetime_s=7200)
        made = await admins.rotate(house.office, "ada", None, "ada")
        assert (await look(house, old)).code == "credential_invalid"
        assert (await look(house, made.credential)).status == 200
        assert made.admin.expires_at is not None, "it lasts as long as the last one did"
        changes = await house.store.changes(10)
        assert [(each.verb, each.actor) for each in changes[:2]] == [("rotate", "ada"), ("add", "test")]


async def test_a_disabled_admin_is_let_in_no_longer_and_can_come_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        own = await add(house, "olga", "operator")
        row = await admins.disable(house.office, "olga", "she has left", "ada")
        assert (row.state, row.disabled_by, row.disabled_reason) == ("disabled", "ada", "she has left")
        assert (await look(house, own)).code == "admin_disabled"
        with pytest.raises(ControlProblem, match="olga is disabled"):
            await admins.rotate(house.office, "olga", None, "ada")
    async with opened(tmp_path) as house:
        assert (await look(house, own)).code == "admin_disabled"
        again = await add(house, "olga", "viewer")
        assert (await look(house, own)).code == "credential_invalid"
        assert (await look(house, again)).status == 200


async def test_who_is_disabled_while_its_request_is_on_its_way_does_no_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        own = await add(house, "olga", "operator")

        async def disable() -> None:
            await admins.disable(house.office, "olga", "she has left", "ada")

        app = api.build(house.office, Outside(Admin()))
        sent = {"identity": "agent/ant", "lifetime_s": 60}
        said = await ask(app, "POST", "/api/v1/sessions", sent, credential=own, meanwhile=disable)
        assert (said.status, said.code) == (403, "admin_disabled")
        assert house.gate.sessions == {}


async def test_the_last_admin_who_can_get_in_stays(tmp_path: Path) -> None:
    main = {"kind": "oidc", "url": "https://id.acme.example", "audience": "us", "algorithms": ["RS256"]}
    async with opened(tmp_path, issuers={"main": main}) as house:
        await add(house, "ada")
        await admins.add(house.office, "bob", "admin", None, "main", "bob", "ada")
        await house.apply(issuers={})
        with pytest.raises(ControlProblem, match="last admin"):
            await admins.disable(house.office, "ada", "she has left", "bob")
        await house.apply(issuers={"main": main})
        assert (await admins.disable(house.office, "ada", "she has left", "bob")).state == "disabled"


async def test_no_two_names_read_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "Ada")
        with pytest.raises(ControlProblem, match="reads the same"):
            await add(house, "ada")
        await add(house, "adam")


async def test_an_expired_admin_is_told_whom_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        own = await add(house, "vera", "viewer", 60)
        later = house.gate.clock.expiry_ns() + 61 * NANOS_PER_SECOND
        monkeypatch.setattr(house.gate.clock, "expiry_ns", lambda: later)
        said = await look(house, own)
        assert (said.status, said.code) == (401, "credential_expired")
        assert "Ask ada." in said.body["hint"]


async def test_the_last_admin_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        await add(house, "olga", "operator")
        with pytest.raises(ControlProblem, match="last admin"):
            await admins.disable(house.office, "ada", "no more", "ada")
        await add(house, "eve")
        with pytest.raises(ControlProblem, match="You are ada"):
            await admins.disable(house.office, "ada", "no more", "ada")
        assert (await admins.disable(house.office, "ada", "no more", "eve")).state == "disabled"
        with pytest.raises(ControlProblem, match="last admin"):
            await admins.disable(house.office, "eve", "no more", "eve")


async def test_who_recovers_is_an_admin_whatever_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada", lifetime_s=60)
        await add(house, "vera", "viewer")
        made = await admins.recover(house.office, "vera", "ada has left")
        assert (made.admin.role, made.admin.state) == ("admin", "active")
        assert (await look(house, made.credential)).status == 200
        (change, *_) = await house.store.changes(1)
        assert (change.actor, change.verb, change.key, change.reason) == ("recovery", "recover", "vera", "ada has left")


@pytest.mark.parametrize(
    ("name", "lifetime_s", "issuer", "subject", "code"),
    [
        ("", None, None, None, "invalid"),
        ("a b", None, None, None, "invalid"),
        ("a\n", None, None, None, "invalid"),
        ("x" * 65, None, None, None, "invalid"),
        ("bootstrap", None, None, None, "invalid"),
        ("Gateway", None, None, None, "invalid"),
        ("ada", None, None, None, "conflict"),
        ("bob", 59, None, None, "invalid"),
        ("bob", 367 * 86_400, None, None, "invalid"),
        ("bob", None, "main", None, "invalid"),
        ("bob", None, None, "sub", "invalid"),
        ("bob", None, "main", " ", "invalid"),
        ("bob", None, "main", "sub", "not_found"),
    ],
)
async def test_who_cannot_be_an_admin(
    tmp_path: Path, name: str, lifetime_s: int | None, issuer: str | None, subject: str | None, code: str
) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        with pytest.raises(ControlProblem) as raised:
            await admins.add(house.office, name, "viewer", lifetime_s, issuer, subject, "ada")
        assert raised.value.code == code
        assert [each.name for each in admins.list_admins(house.office)] == ["ada"]


def test_nobody_is_called_as_what_acts_by_itself() -> None:
    assert not any(is_admin_name(name) or is_admin_name(name.title()) for name in RESERVED)
    assert all(is_admin_name(name) for name in ("ada", "ada@acme.example", "ci+deploy", "A.B_c-1"))


async def test_an_admin_that_cannot_be_written_is_none_and_a_disabled_one_stays_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await add(house, "ada")
        own = await add(house, "olga", "operator")
        whole, house.office.ledger = house.office.ledger, Unwritable(house.office.ledger)
        with pytest.raises(ControlProblem, match="Nothing was changed about eve") as raised:
            await add(house, "eve")
        assert raised.value.status == 503
        with pytest.raises(ControlProblem, match="disabled in this process"):
            await admins.disable(house.office, "olga", "a leak", "ada")
        house.office.ledger = whole
        assert house.office.admins.get("eve") is None
        assert (await look(house, own)).code == "admin_disabled"


async def test_guessing_ends_and_keeps_nobody_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        own = await add(house, "ada")
        guess = "cptradm_" + "x" * 43
        answers = [await look(house, guess, client=FAR) for _ in range(MOST_WRONG + 5)]
        assert [each.status for each in answers] == [401] * MOST_WRONG + [429] * 5
        assert 0 < int(answers[-1].headers["retry-after"]) <= WINDOW_S
        assert (await look(house, own, client=FAR)).status == 200, "a stop button for its owner, whoever guesses beside"
        assert (await look(house, guess, client=("203.0.113.10", 1))).status == 401
        assert house.warnings == [("admin_guessed", {"client.address": FAR[0]})], "said once"


def test_attempts_are_forgotten_after_a_while_and_their_memory_is_bounded() -> None:
    attempts, now_ns = Attempts(), 10**18
    for _ in range(MOST_WRONG):
        assert attempts.wait_s("2001:db8::1", now_ns) == 0
        attempts.wrong("2001:db8::1", now_ns)
    assert attempts.wait_s("2001:db8::ffff", now_ns) == WINDOW_S, "whoever has one address has its neighbours"
    assert attempts.wait_s("2001:db8:0:1::1", now_ns) == 0
    assert attempts.wait_s("2001:db8::1", now_ns + WINDOW_S * NANOS_PER_SECOND) == 0
    for number in range(5_000):
        attempts.wrong(f"10.0.{number // 250}.{number % 250}", now_ns)
    assert attempts.wait_s("2001:db8::1", now_ns) == 0


def test_an_admin_has_so_many_logins_and_no_more() -> None:
    logins = Logins()
    for number in range(LOGINS_MOST + 3):
        logins.add(bytes([number]), Login("ada", "main", "sub", 1_000), 0)
    logins.add(b"other", Login("bob", "main", "bob", 10), 0)
    assert logins.get(bytes([2])) is None
    assert logins.get(bytes([3])) is not None
    logins.end("ada")
    assert logins.get(bytes([5])) is None
    assert logins.get(b"other") is not None
    logins.add(b"new", Login("eve", "main", "eve", 1_000), 11)
    assert logins.get(b"other") is None, "what is over is forgotten"


class Unwritable:
    """Books that can be read alone."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def write_admin(self, *_: Any) -> None:
        raise LedgerUnavailableError("disk full")
