"""Credentials by the book: what works, giving one up, and what the gateway says of itself, on a running gateway."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from tests.end_to_end.caller import Said, ask, chat, mint, stream
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

FORM = {"content-type": "application/x-www-form-urlencoded"}


def post(gateway: GatewayProcess, path: str, credential: str | None = None, **fields: str) -> Said:
    return ask(gateway, credential, urlencode(fields).encode(), path=path, headers=FORM)


def introspected(gateway: GatewayProcess, token: str, by: str | None = None) -> Any:
    said = post(gateway, "/oauth/introspect", by or mint(gateway)["credential"], token=token)
    assert said.status == 200
    assert said.headers["cache-control"] == "no-store"
    return json.loads(said.body)


def test_a_working_credential_is_described(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/bee", lifetime_s=600)
    said = introspected(gateway, minted["credential"])
    assert said | {"jti": "", "iat": 0, "exp": 0} == {
        "active": True,
        "token_type": "Bearer",
        "client_id": "agent/bee",
        "sub": "spiffe://acme.example/agent/bee",
        "aud": "comptroller",
        "iss": "spiffe://acme.example",
        "sid": minted["session"],
        "jti": "",
        "iat": 0,
        "exp": 0,
        "name": "agent/bee",
        "chain": ["agent/bee"],
    }
    assert said["exp"] - said["iat"] == 600


@pytest.mark.parametrize("what", ["nonsense", "cptr_a.b.c", "changed", "ended"])
def test_of_a_credential_that_does_not_work_nothing_is_said(gateway: GatewayProcess, what: str) -> None:
    minted = mint(gateway)
    token = {"changed": minted["credential"][:-30] + "A" * 30, "ended": minted["credential"]}.get(what, what)
    if what == "ended":
        gateway.admin("POST", f"/sessions/{minted['session']}/end", {"reason": "test"})
    assert introspected(gateway, token) == {"active": False}


@pytest.mark.parametrize("who", ["nobody", "admin", "ended"])
def test_introspection_is_for_those_who_have_a_working_credential(gateway: GatewayProcess, who: str) -> None:
    minted = mint(gateway)
    gateway.admin("POST", f"/sessions/{minted['session']}/end", {"reason": "test"})
    by = {"nobody": None, "admin": gateway.admin_token(), "ended": minted["credential"]}[who]
    said = post(gateway, "/oauth/introspect", by, token=mint(gateway)["credential"])
    assert said.status == (403 if who == "ended" else 401)
    assert json.loads(said.body)["error"] == ("access_denied" if who == "ended" else "invalid_client")


def test_a_revoked_credential_is_refused_at_its_next_call_and_cut_in_flight(gateway: GatewayProcess) -> None:
    minted = mint(gateway)
    with stream(gateway, minted["credential"], chat(max_tokens=4000)) as response:
        assert post(gateway, "/oauth/revoke", token=minted["credential"]).status == 200
        response.read()
    refused = ask(gateway, minted["credential"])
    assert (refused.status, refused.code) == (402, "session_ended")
    assert "revoked by whoever holds it" in refused.error["message"]
    assert post(gateway, "/oauth/revoke", token=minted["credential"]).status == 200, "again: nothing to do"
    (change,) = [
        row
        for row in gateway.admin("GET", "/changes?limit=100")
        if (row["verb"], row["key"]) == ("end", minted["session"])
    ]
    assert change["actor"] == "agent/ant"


@pytest.mark.parametrize(
    ("path", "body", "kind", "error"),
    [
        ("/oauth/revoke", b"token=", FORM, "invalid_request"),
        ("/oauth/revoke", b"token=a&token=b", FORM, "invalid_request"),
        ("/oauth/revoke", b"token=%ff", FORM, "invalid_request"),
        ("/oauth/revoke", b"&".join(b"a%d=b" % n for n in range(100)), FORM, "invalid_request"),
        ("/oauth/revoke", b'{"token": "a"}', {}, "invalid_request"),
        ("/oauth/revoke", b"token=" + b"a" * 100_000, FORM, "invalid_request"),
        ("/oauth/nothing", b"token=a", FORM, "invalid_request"),
        ("/oauth/token", b"grant_type=no", FORM, "unsupported_grant_type"),
        ("/oauth/token", b"token=a", FORM, "invalid_request"),
        ("/oauth/token", b"grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=", FORM, "invalid_request"),
        (
            "/oauth/token",
            b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=a",
            FORM,
            "invalid_request",
        ),
    ],
)
def test_errors_are_those_of_the_standard(
    gateway: GatewayProcess, path: str, body: bytes, kind: dict[str, str], error: str
) -> None:
    said = ask(gateway, None, body, path=path, headers=kind)
    assert said.status in {400, 404, 413}
    told = json.loads(said.body)
    assert told["error"] == error
    assert told["error_description"]
    assert told["code"]
    assert told["hint"]
    assert said.headers["cache-control"] == "no-store"


def test_an_unknown_token_is_revoked_already(gateway: GatewayProcess) -> None:
    assert post(gateway, "/oauth/revoke", token="cptr_of.somebody.else").status == 200


def test_the_wrong_method_names_the_right_one(gateway: GatewayProcess) -> None:
    said = ask(gateway, None, b"", path="/oauth/revoke", method="GET")
    assert (said.status, said.headers["allow"]) == (405, "POST")


def test_what_it_says_of_itself_leads_to_keys_that_verify_its_credentials(gateway: GatewayProcess) -> None:
    metadata = json.loads(gateway.get("/.well-known/oauth-authorization-server")[1])
    assert metadata["issuer"] == gateway.url
    assert all(metadata[name].startswith(f"{gateway.url}/") for name in metadata if name.endswith(("_endpoint", "uri")))
    status, body = gateway.get(metadata["jwks_uri"].removeprefix(gateway.url))
    assert status == 200
    keys = json.loads(body)["keys"]
    assert all("d" not in key for key in keys), "a private key is published"
    token = mint(gateway)["credential"].removeprefix("cptr_")
    kid = jws.extract_compact(token.encode()).headers()["kid"]
    (key,) = [key for key in keys if key["kid"] == kid]
    registry = jws.JWSRegistry(algorithms=[key["alg"]])
    assert json.loads(jws.deserialize_compact(token, OKPKey.import_key(key), registry=registry).payload)["sub"]


def test_a_new_signing_key_is_published_beside_the_old_one_and_after_a_leak_alone(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    def published() -> list[str]:
        return [key["kid"] for key in json.loads(running.get("/.well-known/jwks.json")[1])["keys"]]

    with GatewayProcess(tmp_path, process(sandbox.url), registry()) as running:
        (first,) = published()
        old = mint(running)["credential"]
        second = running.admin("POST", "/keys/rotate", {"reason": "routine"})["key"]
        assert published() == [first, second]
        assert introspected(running, old)["active"], "what the old key signed stays good"
        third = running.admin("POST", "/keys/rotate", {"reason": "a leak", "distrust_old": True})["key"]
        assert published() == [third]
        assert introspected(running, old) == {"active": False}
        assert ask(running, old).status == 401


def test_credentials_that_are_presented_do_not_reach_the_log(gateway: GatewayProcess) -> None:
    minted = mint(gateway)["credential"]
    post(gateway, "/oauth/introspect", minted, token=minted)
    post(gateway, "/oauth/revoke", token=minted)
    assert minted not in gateway.log()
