"""A token is judged by the registry that is in force once the issuer's keys have come."""

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from comptroller.control.caller_api import CallerApi
from comptroller.control.exchange import JWT_BEARER
from comptroller.control.issuer_keys import IssuerKeys, PublicKey
from comptroller.core.identity.federation import TrustedIssuer, Untrusted
from tests.control.house import House, opened
from tests.control.test_caller_api import FORM, Sent
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
