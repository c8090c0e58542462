"""A token is judged by the registry that is in force once the issuer's keys have come."""

import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from joserfc import jwk, jwt

from comptroller.control import admins, entry, login
from comptroller.control.caller_api import CallerApi
from comptroller.control.exchange import JWT_BEARER
from comptroller.control.issuer_keys import IssuerKeys, PublicKey
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.federation import TrustedIssuer, Untrusted
from tests.control.house import House, opened
from tests.control.test_caller_api import FORM, Sent
from tests.fuzz.caller_shots import ISSUER, KEYS, trust
from tests.harness.configuration import identity
from tests.harness.issuer import AUDIENCE, IssuerProcess

TRUSTED = {"kind": "oidc", "audience": AUDIENCE, "algorithms": ["RS256"]}
ANT = identity("red", federated=[{"issuer": "main", "subject": "me"}])
BEE = identity("blue")


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


class Meanwhile:
    """The keys of issuers, and something that happens while they are fetched."""

    def __init__(self, keys: IssuerKeys, happens: Callable[[], Awaitable[object]]) -> None:
        self._keys = keys
        self._happens = happens

    async def key(self, issuer: TrustedIssuer, key_id: str) -> PublicKey | Untrusted:
        found = await self._keys.key(issuer, key_id)
        await self._happens()
        return found


async def exchanged(house: House, token: str) -> tuple[int, Mapping[str, Any]]:
    body = urlencode({"grant_type": JWT_BEARER, "assertion": token}).encode()
    said = await CallerApi(house.office)("POST", "/oauth/token", Sent([FORM], body))
    return said.status, json.loads(said.body)


@pytest.mark.parametrize(
    ("identities", "trusted", "code"),
    [
        ({"agent/ant": ANT, "agent/bee": BEE}, {"audience": "somebody-else"}, "issuer_unknown"),
        ({"agent/ant": identity("red"), "agent/bee": BEE}, {}, "identity_unmatched"),
        (
            {
                "agent/ant": identity("red"),
                "agent/bee": identity("blue", federated=[{"issuer": "main", "subject": "me"}]),
            },
            {},
            None,
        ),
    ],
)
async def test_what_an_apply_takes_away_while_keys_are_fetched_opens_nothing(
    tmp_path: Path, issuer: IssuerProcess, identities: Any, trusted: Mapping[str, Any], code: str | None
) -> None:
    main = {**TRUSTED, "url": issuer.url}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        status, said = await exchanged(house, issuer.token(sub="me"))
        assert (status, said.get("identity")) == (200, "agent/ant")

        async def apply() -> None:
            await house.apply(identities=identities, issuers={"main": main | trusted})

        house.office.issuer_keys = Meanwhile(house.office.issuer_keys, apply)  # type: ignore[assignment]
        status, said = await exchanged(house, issuer.token(sub="me"))
        assert (said.get("code"), said.get("identity")) == (code, None if code else "agent/bee")


async def test_why_keys_cannot_be_had_is_said_in_the_log_alone(tmp_path: Path, issuer: IssuerProcess) -> None:
    main = {**TRUSTED, "url": issuer.url, "keys": "http://127.0.0.1:9/keys"}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        status, said = await exchanged(house, issuer.token(sub="me"))
        assert (status, said["code"]) == (503, "issuer_unavailable")
        assert "connect" not in json.dumps(said)
        ((event, fields),) = [each for each in house.warnings if each[0] == "issuer_unavailable"]
        assert (event, fields["issuer"]) == ("issuer_unavailable", "main")
        assert fields["message"].startswith("connect")


@pytest.mark.parametrize(
    ("claims", "typ", "code"),
    [
        ({"aud": AUDIENCE}, "", None),
        ({"aud": AUDIENCE}, "at+jwt", None),
        ({"aud": AUDIENCE}, "application/AT+JWT", None),
        ({"aud": [AUDIENCE, "cli"], "azp": "other"}, "JWT", None),
        ({"aud": "cli"}, "JWT", None),
        ({"aud": ["cli", "other"], "azp": "cli"}, "", None),
        ({"aud": ["cli", "other"], "azp": "other"}, "", "token_invalid"),
        ({"aud": "cli", "azp": 5}, "", "token_invalid"),
        ({"aud": "cli"}, "at+jwt", "token_invalid"),
        ({"aud": "cli"}, "logout+jwt", "token_invalid"),
        ({"aud": AUDIENCE}, "dpop+jwt", "token_invalid"),
        ({"aud": "cli", "events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, "", "token_invalid"),
        ({"aud": "other"}, "", "token_invalid"),
    ],
)
async def test_a_genuine_token_of_another_kind_or_client_is_nobodys(
    tmp_path: Path, issuer: IssuerProcess, claims: Mapping[str, Any], typ: str, code: str | None
) -> None:
    main = {**TRUSTED, "url": issuer.url, "client_id": "cli"}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        status, said = await exchanged(house, issuer.token(sub="me", typ=typ, **claims))
        assert (status, said.get("code")) == (200 if code is None else 400, code)
        if code is not None:
            assert "another client" in said["error_description"] or claims["aud"] == "other"


async def test_whatever_an_issuer_may_write_is_a_yes_or_a_no(tmp_path: Path) -> None:
    """Of whatever head: it is read before the signature, so anybody may write one."""
    tokens = trust(tmp_path, random.Random(7))
    main = {**TRUSTED, "url": ISSUER, "keys": f"file:{tmp_path / KEYS}", "client_id": "cli"}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        answers = [await exchanged(house, token) for token in tokens]
        assert {status for status, _ in answers} == {200, 400}
        for crit in (5, None, True, "exp", ["exp"], [], {}):
            head, *rest = tokens[0].split(".")
            more = json.loads(base64.urlsafe_b64decode(head + "==")) | {"crit": crit}
            forged = base64.urlsafe_b64encode(json.dumps(more).encode()).rstrip(b"=").decode()
            status, said = await exchanged(house, ".".join((forged, *rest)))
            assert (status, said["code"]) == (400, "token_invalid")
        assert {event for event, _ in house.warnings} == {"exchange_refused"}, "no fault of ours"


@pytest.mark.parametrize("missing", ["iss", "aud", "sub", "exp"])
async def test_a_token_that_leaves_out_what_it_must_say_is_nobodys(tmp_path: Path, missing: str) -> None:
    """One without an end would be good for ever, wherever it has been."""
    key = jwk.RSAKey.generate_key(2048, {"kid": "one"})
    (tmp_path / KEYS).write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    main = {**TRUSTED, "url": ISSUER, "keys": f"file:{tmp_path / KEYS}"}
    whole = {"iss": ISSUER, "aud": AUDIENCE, "sub": "me", "exp": 4_000_000_000}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        for claims, good in ((whole, True), ({k: v for k, v in whole.items() if k != missing}, False)):
            status, said = await exchanged(house, jwt.encode({"alg": "RS256", "kid": "one"}, claims, key))
            assert (status == 200) is good, said


async def test_a_login_is_its_admins_for_as_long_as_that_is_the_same_subject_and_lasts(
    tmp_path: Path, issuer: IssuerProcess
) -> None:
    main = {**TRUSTED, "url": issuer.url}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        office = house.office
        office.process = msgspec.structs.replace(office.process, listen="here")
        made = await admins.add(office, "ada", "admin", 120, "main", "me", "test")
        found = await login.login(office, issuer.token(sub="me"), 3600)
        assert found.expires_at == made.admin.expires_at
        assert entry.actor_of(office, Nobody(), found.credential).name == "ada"
        ada = office.admins.get("ada")
        assert ada is not None
        office.admins = office.admins.with_admin(msgspec.structs.replace(ada, subject="somebody-else"))
        with pytest.raises(ControlProblem, match="This login has ended"):
            entry.actor_of(office, Nobody(), found.credential)
        office.admins = office.admins.with_admin(ada)
        assert entry.actor_of(office, Nobody(), found.credential).name == "ada"
        await house.apply(identities={"agent/ant": identity("red"), "agent/bee": BEE}, issuers={})
        with pytest.raises(ControlProblem, match="This login has ended"):
            entry.actor_of(office, Nobody(), found.credential)


class Nobody:
    """No bootstrap credential."""

    def matches(self, presented: str) -> bool:
        return False


async def test_who_a_token_is_for_is_said_in_printable_words_and_not_for_ever(
    tmp_path: Path, issuer: IssuerProcess
) -> None:
    main = {**TRUSTED, "url": issuer.url}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        for subject in ("x" * 5000, "a\x1b[2Jb\nc"):
            status, said = await exchanged(house, issuer.token(sub=subject))
            assert (status, said["code"]) == (400, "identity_unmatched")
            message = house.warnings[-1][1]["message"]
            assert message.isprintable()
            assert len(message) < 400


async def test_a_login_during_which_its_admin_is_changed_is_none(tmp_path: Path, issuer: IssuerProcess) -> None:
    main = {**TRUSTED, "url": issuer.url}
    async with opened(tmp_path, identities={"agent/ant": ANT, "agent/bee": BEE}, issuers={"main": main}) as house:
        office = house.office
        office.process = msgspec.structs.replace(office.process, listen="here")
        await admins.add(office, "ada", "admin", None, "main", "me", "test")
        assert (await login.login(office, issuer.token(sub="me"), None)).admin == "ada"
        house.gate.journal = Rotating(house.gate.journal, office)  # type: ignore[assignment]
        with pytest.raises(ControlProblem, match="changed by somebody else meanwhile"):
            await login.login(office, issuer.token(sub="me"), None)


class Rotating:
    """A journal that takes a while: in it, somebody gives the admin a new credential, which ends its logins."""

    def __init__(self, journal: Any, office: Any) -> None:
        self._journal = journal
        self._office = office

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def commit(self, event: Any) -> None:
        await self._journal.commit(event)
        await admins.rotate(self._office, "ada", None, "test")
