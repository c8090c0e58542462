"""Answers from a chat: what is signed for one ticket and one answer does that once, and nothing else does anything."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from comptroller.control import admins, api, approvals
from comptroller.control.approval_rows import TermsSent
from comptroller.control.chat import Chat, read_chat
from comptroller.control.chat_answers import AUDIENCE
from comptroller.control.door import Outside
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.settings.values import KeySource
from tests.control.asgi import Admin, Said, ask
from tests.control.house import House, opened
from tests.control.test_approvals import BUDGETS, EVE, ROLES, add_all, asked

SECRET = secrets.token_bytes(32)
PATH = "/api/v1/chat-answers"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, budgets=BUDGETS, approvals=ROLES) as house:
        await add_all(house)
        house.office.chat = Chat(SECRET)
        yield house


def token(house: House, about: str, secret: bytes = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    now_s = house.gate.clock.expiry_ns() // NANOS_PER_SECOND
    said = {
        "aud": AUDIENCE,
        "ticket": about,
        "action": "approve",
        "sub": "ada",
        "reason": "INC-9",
        "jti": secrets.token_hex(8),
        "iat": now_s,
        "exp": now_s + 300,
    } | changes
    claims = {name: value for name, value in said.items() if value is not None}
    return jwt.encode({"alg": algorithm}, claims, OctKey.import_key(secret), algorithms=[algorithm])


async def send(house: House, sent: str) -> Said:
    """As somebody who has no credential."""
    return await ask(api.build(house.office, Outside(Admin())), "POST", PATH, {"token": sent}, credential=None)


async def test_an_admin_answers_from_a_chat(house: House) -> None:
    ticket, other = await asked(house), await asked(house)
    said = await send(house, token(house, ticket))
    assert (said.status, said.body["ticket"]["state"], said.body["grant"]["uses"]) == (200, "approved", 1)
    assert (said.body["ticket"]["decided_by"], said.body["ticket"]["said"]) == ("ada", "INC-9 (in a chat)")
    said = await send(house, token(house, other, action="deny", sub="eve"))
    assert (said.status, said.body["ticket"]["state"], said.body["grant"]) == (200, "denied", None)


async def test_it_is_good_once(house: House) -> None:
    ticket = await asked(house)
    house.office.chat = Chat(SECRET)
    once = token(house, ticket)
    assert (await send(house, once)).status == 200
    said = await send(house, once)
    assert (said.status, said.code) == (409, "conflict")
    said = await send(house, token(house, ticket, sub="eve", action="deny"))
    assert (said.status, said.code) == (409, "not_open"), "and a ticket is answered once, whoever signs"
    assert len(house.gate.approvals.grants) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"secret": secrets.token_bytes(32)}, "was not signed with the secret"),
        ({"algorithm": "HS512"}, "was not signed with the secret"),
        ({"aud": "somebody-else"}, "or is for something else"),
        ({"aud": None}, "or is for something else"),
        ({"iat": 1, "exp": 300}, "has expired"),
        ({"exp": 1 << 40}, "lasts longer than 600 seconds"),
        ({"exp": None}, "or is for something else"),
        ({"jti": ""}, "has no `jti`"),
        ({"action": "revoke"}, "does not say what it must"),
        ({"ticket": None}, "does not say what it must"),
        ({"reason": "x" * 5000}, "is longer than one can be"),
    ],
)
async def test_what_proves_nothing_does_nothing(house: House, changes: dict[str, Any], words: str) -> None:
    said = await send(house, token(house, await asked(house), **changes))
    assert (said.status, said.code) == (401, "token_invalid")
    assert words in said.body["detail"]
    assert house.gate.approvals.grants == ()


@pytest.mark.parametrize("sent", ["", "x", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."])
async def test_texts_that_are_no_token(house: House, sent: str) -> None:
    said = await send(house, sent)
    assert (said.status, said.code) == (401, "token_invalid")


@pytest.mark.parametrize(
    ("who", "code"),
    [("red-lead@acme.example", "own_request"), ("cleo", "not_approver"), ("nobody", "not_approver")],
)
async def test_the_rules_are_those_of_the_person_who_answers(house: House, who: str, code: str) -> None:
    said = await send(house, token(house, await asked(house), sub=who))
    assert (said.status, said.code) == (403, code)
    await admins.disable(house.office, "ada", "has left", "test")
    said = await send(house, token(house, await asked(house)))
    assert (said.status, said.code) == (403, "not_approver")
    assert house.gate.approvals.grants == ()


async def test_a_chat_is_not_both_of_two(house: House) -> None:
    """Whoever has its secret could sign for two people."""
    ticket = await asked(house, amount=50 * 10**9)
    assert (await send(house, token(house, ticket))).body["grant"] is None
    assert (await send(house, token(house, ticket))).code == "second_needed"
    said = await send(house, token(house, ticket, sub="eve"))
    assert (said.status, said.code) == (403, "second_needed")
    assert said.body["hint"] == f"`comptroller approvals approve {ticket}`"
    assert house.gate.approvals.grants == ()
    done = await approvals.approve(house.office, ticket, TermsSent(), "INC-9", EVE)
    assert done.grant is not None
    assert (done.grant.approver, done.grant.second) == ("ada", "eve"), "with a credential of their own"


async def test_two_answers_of_a_chat_at_once_are_not_both_of_two(house: House) -> None:
    ticket = await asked(house, amount=50 * 10**9)
    both = [send(house, token(house, ticket, sub=who)) for who in ("ada", "eve")]
    assert sorted([each.status for each in await asyncio.gather(*both)]) == [200, 403]
    assert house.gate.approvals.grants == ()


async def test_without_a_secret_nobody_answers(house: House) -> None:
    sent = token(house, await asked(house))
    house.office.chat = Chat()
    said = await send(house, sent)
    assert (said.status, said.code) == (409, "conflict")


def test_a_secret_that_is_too_short_or_not_there_answers_nothing() -> None:
    source = KeySource("env", "CHAT_SECRET")
    for environ, words in (({}, "is not set"), ({"CHAT_SECRET": "x" * 31}, "shorter than 32 bytes")):
        warnings: list[str] = []
        assert read_chat(source, environ, warnings).secret is None
        assert words in warnings[0]
    assert read_chat(source, {"CHAT_SECRET": "x" * 32}, []).secret == b"x" * 32
    assert read_chat(None, {}, []).secret is None


def test_however_many_tokens_are_sent_none_is_good_twice() -> None:
    chat = Chat(SECRET)
    assert all(chat.use(f"t{number}", 100, 0) for number in range(10_000))
    assert not chat.use("one-more", 100, 0), "nothing is forgotten that could be sent again"
    assert not chat.use("t0", 100, 0)
    assert chat.use("later", 300, 100)
