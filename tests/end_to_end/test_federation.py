"""Workloads without a stored secret: a token of a real OpenID provider in, a session credential out."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from joserfc import jwk, jwt

from comptroller.control.exchange import CLIENT_CREDENTIALS, ID_TOKEN, JWT, JWT_BEARER, TOKEN_EXCHANGE
from comptroller.control.guesses import MOST_GUESSES
from tests.end_to_end.caller import Said, ask, chat, eventually, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

FORM = {"content-type": "application/x-www-form-urlencoded"}
DOWN = "http://127.0.0.1:9"  # nobody listens there
CLAIMS = {"sub": "workload-1"}
SPIRE = "spiffe://prod.acme.example"
SVID_KEY = jwk.ECKey.generate_key("P-256")


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


@pytest.fixture(scope="module")
def federated(
    issuer: IssuerProcess, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    def by(**claims: Any) -> dict[str, Any]:
        return {"issuer": "main", **claims}

    identities = {
        "agent/ant": identity("red", federated=[by(subject="workload-1"), by(role="ant")]),
        "agent/bee": identity("blue", federated=[by(subject=["workload-2", "both"], stage="live")]),
        "agent/cat": identity("blue", federated=[by(subject="both", region="eu")]),
        "agent/old": identity("blue", expires=date(2020, 1, 1), federated=[by(subject="old")]),
        "agent/spy": identity("blue", federated=[{"issuer": "spire", "subject": f"{SPIRE}/agents/spy"}]),
        "agent/far": identity("blue", federated=[{"issuer": "down", "subject": "anybody"}]),
    }
    issuers = {
        "main": {"kind": "oidc", "url": issuer.url, "audience": AUDIENCE, "algorithms": ["RS256", "ES256"]},
        "down": {"kind": "oidc", "url": DOWN, "audience": AUDIENCE},
        "spire": {
            "kind": "spiffe",
            "url": SPIRE,
            "audience": AUDIENCE,
            "algorithms": ["ES256"],
            "keys": "file:bundle.json",
        },
    }
    folder = tmp_path_factory.mktemp("federated")
    bundle = {"keys": [SVID_KEY.as_dict(private=False) | {"kid": "svid", "use": "jwt-svid"}], "spiffe_sequence": 1}
    (folder / "bundle.json").write_text(json.dumps(bundle))
    files = process(sandbox_process.url)
    known = registry([budget("all", "10.00 USD")], identities, issuers=issuers)
    with GatewayProcess(folder, files, known) as running:
        yield running
        assert "Traceback" not in running.log()


def post(gateway: GatewayProcess, **fields: str) -> Said:
    return ask(gateway, None, urlencode(fields).encode(), path="/oauth/token", headers=FORM)


def bearer(gateway: GatewayProcess, token: str, **more: str) -> Said:
    return post(gateway, grant_type=JWT_BEARER, assertion=token, **more)


def opened(said: Said) -> dict[str, Any]:
    assert said.status == 200, said
    assert said.headers["cache-control"] == "no-store"
    return json.loads(said.body)


def error(said: Said) -> dict[str, str]:
    assert said.status != 200, said
    assert said.headers["cache-control"] == "no-store"
    return json.loads(said.body)


# What is accepted: every line of the table.


@pytest.mark.parametrize(
    "sent",
    [
        {"grant_type": JWT_BEARER, "assertion": "TOKEN"},
        {"grant_type": JWT_BEARER, "assertion": "TOKEN", "client_id": "anything"},
        {"grant_type": TOKEN_EXCHANGE, "subject_token": "TOKEN", "subject_token_type": JWT},
        {"grant_type": TOKEN_EXCHANGE, "subject_token": "TOKEN", "subject_token_type": ID_TOKEN},
        {"grant_type": TOKEN_EXCHANGE, "subject_token": "TOKEN", "subject_token_type": JWT, "audience": "comptroller"},
        {"grant_type": TOKEN_EXCHANGE, "subject_token": "TOKEN", "subject_token_type": JWT, "audience": "HERE"},
    ],
)
def test_a_token_of_a_trusted_issuer_opens_a_session_that_can_call(
    federated: GatewayProcess, issuer: IssuerProcess, sandbox: SandboxProcess, sent: dict[str, str]
) -> None:
    places = {"TOKEN": issuer.token(**CLAIMS), "HERE": federated.url}
    said = opened(post(federated, **{name: places.get(value, value) for name, value in sent.items()}))
    assert said["identity"] == "agent/ant"
    assert (said["token_type"], said["expires_in"]) == ("Bearer", 3600)
    answer = ask(federated, said["access_token"], chat())
    assert answer.status == 200
    row = settled_row(federated, answer.call_id)
    assert (row["identity"], row["session"]) == ("agent/ant", said["session"])
    (session,) = [row for row in federated.admin("GET", "/sessions?limit=100") if row["id"] == said["session"]]
    assert session["minted_by"] == "main:workload-1"


def test_another_algorithm_that_is_pinned_and_an_audience_among_others(
    federated: GatewayProcess, issuer: IssuerProcess
) -> None:
    token = issuer.token(alg="ES256", aud=["https://elsewhere.example", AUDIENCE], **CLAIMS)
    assert opened(bearer(federated, token))["identity"] == "agent/ant"


def test_a_rule_can_be_about_any_claims_and_a_list_fits_by_one_element(
    federated: GatewayProcess, issuer: IssuerProcess
) -> None:
    said = opened(bearer(federated, issuer.token(sub="somebody", role=["cook", "ant"])))
    assert said["identity"] == "agent/ant"
    said = opened(bearer(federated, issuer.token(sub="workload-2", stage="live")))
    assert said["identity"] == "agent/bee"


def svid(**changes: Any) -> str:
    claims = {"sub": f"{SPIRE}/agents/spy", "aud": [AUDIENCE], "exp": int(time.time()) + 300} | changes
    return jwt.encode({"alg": "ES256", "kid": "svid", "typ": "JWT"}, claims, SVID_KEY, algorithms=["ES256"])


@pytest.mark.parametrize("more", [{}, {"iss": "https://spire.example"}])
def test_a_workload_of_a_trust_domain_needs_no_issuer_claim(federated: GatewayProcess, more: dict[str, str]) -> None:
    assert opened(bearer(federated, svid(**more)))["identity"] == "agent/spy"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sub": f"{SPIRE}/agents/other"}, "identity_unmatched"),
        ({"sub": "spiffe://other.example/agents/spy"}, "issuer_unknown"),
        ({"sub": "workload-1"}, "issuer_unknown"),
        ({"aud": ["https://other.example"]}, "token_invalid"),
        ({"exp": 1}, "token_invalid"),
        ({"exp": None}, "token_invalid"),
    ],
)
def test_a_workload_of_another_is_refused(federated: GatewayProcess, changes: dict[str, Any], code: str) -> None:
    assert error(bearer(federated, svid(**changes)))["code"] == code


def test_an_issuer_speaks_for_nobody_else(federated: GatewayProcess, issuer: IssuerProcess) -> None:
    """What one issuer signs is never held against the keys or the rules of another."""
    assert error(bearer(federated, svid(iss=issuer.url, sub="workload-1")))["code"] == "token_invalid"
    assert error(bearer(federated, issuer.token(sub=f"{SPIRE}/agents/spy")))["code"] == "identity_unmatched"


def test_the_credential_can_be_asked_to_be_short(federated: GatewayProcess, issuer: IssuerProcess) -> None:
    assert opened(bearer(federated, issuer.token(**CLAIMS), lifetime_s="120"))["expires_in"] == 120
    assert error(bearer(federated, issuer.token(**CLAIMS), lifetime_s="x"))["error"] == "invalid_request"
    assert error(bearer(federated, issuer.token(**CLAIMS), lifetime_s="9999999"))["error"] == "invalid_request"


# What is refused.


def unsigned(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """A token as an attacker puts it together; an HMAC under `key` where there is one."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, claims)]
    signature = hmac.digest(key, b".".join(parts), hashlib.sha256) if key else b""
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def genuine(issuer: IssuerProcess, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer.url, "aud": AUDIENCE, "iat": now, "exp": now + 600, **CLAIMS} | changes


def signed_by_another(issuer: IssuerProcess) -> str:
    kid = next(key["kid"] for key in issuer.published() if key["kty"] == "RSA")
    return jwt.encode({"alg": "RS256", "kid": kid}, genuine(issuer), jwk.RSAKey.generate_key(2048))


def hmac_with_the_public_key(issuer: IssuerProcess) -> str:
    public = next(key for key in issuer.published() if key["kty"] == "RSA")
    pem = jwk.RSAKey.import_key(public).as_pem(private=False)
    return unsigned({"alg": "HS256", "kid": public["kid"]}, genuine(issuer), pem)


def key_in_the_header(issuer: IssuerProcess) -> str:
    own = jwk.RSAKey.generate_key(2048)
    header = {"alg": "RS256", "jwk": own.as_dict(private=False), "jku": "http://127.0.0.1:9/keys"}
    return jwt.encode(header, genuine(issuer), own)


def changed(issuer: IssuerProcess) -> str:
    header, _, signature = issuer.token(**CLAIMS).split(".")
    claims = base64.urlsafe_b64encode(json.dumps(genuine(issuer, sub="workload-2", stage="live")).encode())
    return ".".join([header, claims.rstrip(b"=").decode(), signature])


def in_s(seconds: int) -> int:
    """An instant so far from now, now being when the test runs and not when it was read."""
    return int(time.time()) + seconds


REFUSED: dict[str, tuple[Any, str, str]] = {
    "forged": (signed_by_another, "token_invalid", "was not signed by it"),
    "changed": (changed, "token_invalid", "was not signed by it"),
    "expired": (lambda i: i.token(iat=in_s(-900), **CLAIMS), "token_invalid", "has expired"),
    "not yet valid": (lambda i: i.token(nbf=in_s(600), **CLAIMS), "token_invalid", "begins in the future"),
    "issued in the future": (lambda i: i.token(iat=in_s(600), **CLAIMS), "token_invalid", "begins in the future"),
    "wrong audience": (
        lambda i: i.token(aud="https://other.example", **CLAIMS),
        "token_invalid",
        "another audience (`aud`)",
    ),
    "audience in other letters": (lambda i: i.token(aud=AUDIENCE.upper(), **CLAIMS), "token_invalid", "`aud`"),
    "audience with a slash": (lambda i: i.token(aud=AUDIENCE + "/", **CLAIMS), "token_invalid", "`aud`"),
    "no subject": (lambda i: i.token(role="ant"), "token_invalid", "`sub`"),
    "wrong issuer": (
        lambda i: unsigned({"alg": "RS256"}, genuine(i, iss="https://a.example"), b"x"),
        "issuer_unknown",
        "",
    ),
    "issuer with a slash": (
        lambda i: unsigned({"alg": "RS256"}, genuine(i, iss=i.url + "/"), b"x"),
        "issuer_unknown",
        "",
    ),
    "no issuer": (lambda i: unsigned({"alg": "RS256"}, CLAIMS, b"x"), "issuer_unknown", "trusts no issuer"),
    "alg none": (lambda i: unsigned({"alg": "none"}, genuine(i)) + "AA", "token_invalid", "RS256"),
    "alg none, no signature": (lambda i: unsigned({"alg": "none"}, genuine(i)), "token_malformed", ""),
    "hmac with the public key": (hmac_with_the_public_key, "token_invalid", "RS256"),
    "an algorithm that is not pinned": (lambda i: i.token(alg="PS256", **CLAIMS), "token_invalid", "RS256"),
    "its own key in the header": (key_in_the_header, "token_invalid", "does not publish"),
    "unknown key id": (lambda i: unsigned({"alg": "RS256", "kid": "?"}, genuine(i), b"x"), "token_invalid", "publish"),
    "nobody": (lambda i: i.token(sub="nobody"), "identity_unmatched", "nobody"),
    "half of a rule": (lambda i: i.token(sub="workload-2"), "identity_unmatched", "workload-2"),
    "two identities": (lambda i: i.token(sub="both", stage="live", region="eu"), "identity_ambiguous", "agent/cat"),
    "issuer down": (
        lambda i: unsigned({"alg": "RS256", "kid": "a"}, genuine(i, iss=DOWN), b"x"),
        "issuer_unavailable",
        "cannot be had",
    ),
    "no token": (lambda i: "hello", "token_malformed", ""),
    "a credential of ours": (lambda i: "cptr_" + i.token(**CLAIMS), "token_malformed", ""),
    "not json": (lambda i: "eyJh.eyJh.AAAA", "token_malformed", ""),
    "far too long": (lambda i: i.token(sub="a" * 20_000), "token_malformed", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused_with_a_way_on(federated: GatewayProcess, issuer: IssuerProcess, case: str) -> None:
    make, code, words = REFUSED[case]
    token = make(issuer)
    sessions = len(federated.admin("GET", "/sessions?limit=1000&all=true"))
    before = federated.log()
    said = bearer(federated, token)
    told = error(said)
    down = code == "issuer_unavailable"
    assert (said.status, told["error"]) == ((503, "temporarily_unavailable") if down else (400, "invalid_grant"))
    assert told["code"] == code, told
    assert words in told["error_description"]
    assert told["hint"]
    assert "retry-after" in said.headers or not down
    assert len(federated.admin("GET", "/sessions?limit=1000&all=true")) == sessions
    line = f'"client.address": "127.0.0.1", "error.type": "{code}"'
    eventually(lambda: line in federated.log().removeprefix(before))
    for part in (token, *token.split(".")):
        assert len(part) < 12 or (part not in said.body.decode() and part not in federated.log())


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "a"}, "unsupported_grant_type"),
        ({"grant_type": JWT_BEARER}, "invalid_request"),
        ({"grant_type": JWT_BEARER, "subject_token": "T", "subject_token_type": JWT}, "invalid_request"),
        ({"grant_type": TOKEN_EXCHANGE, "subject_token": "T"}, "invalid_request"),
        ({"grant_type": TOKEN_EXCHANGE, "subject_token": "T", "subject_token_type": "urn:x"}, "invalid_request"),
        (
            {"grant_type": TOKEN_EXCHANGE, "subject_token": "T", "subject_token_type": JWT, "actor_token": "T"},
            "invalid_request",
        ),
        (
            {
                "grant_type": TOKEN_EXCHANGE,
                "subject_token": "T",
                "subject_token_type": JWT,
                "actor_token": "T",
                "actor_token_type": JWT,
            },
            "invalid_request",
        ),
        ({"grant_type": JWT_BEARER, "assertion": "T", "audience": "https://other.example"}, "invalid_target"),
        ({"grant_type": JWT_BEARER, "assertion": "T", "resource": "https://other.example"}, "invalid_target"),
        ({"grant_type": JWT_BEARER, "assertion": "T", "scope": "all"}, "invalid_scope"),
        ({"grant_type": JWT_BEARER, "assertion": "T", "requested_token_type": "urn:x"}, "invalid_request"),
    ],
)
def test_a_combination_that_is_not_in_the_table_is_refused(
    federated: GatewayProcess, issuer: IssuerProcess, sent: dict[str, str], name: str
) -> None:
    token = issuer.token(**CLAIMS)
    said = post(federated, **{each: token if value == "T" else value for each, value in sent.items()})
    assert (said.status, error(said)["error"]) == (400, name)


def test_a_storm_of_unknown_key_ids_asks_the_issuer_almost_never(
    federated: GatewayProcess, issuer: IssuerProcess
) -> None:
    began = time.monotonic()
    before = issuer.asked().get("/jwks.json", 0)
    for number in range(200):
        said = bearer(federated, unsigned({"alg": "RS256", "kid": f"k{number}"}, genuine(issuer), b"x"))
        assert error(said)["code"] == "token_invalid"
    asked = issuer.asked()["/jwks.json"] - before
    assert asked <= 1 + (time.monotonic() - began) / 10, "more than one in ten seconds"
    assert opened(bearer(federated, issuer.token(**CLAIMS))), "and genuine tokens go on working"


def test_an_identity_that_may_not_act_gets_no_credential_by_a_genuine_token(
    federated: GatewayProcess, issuer: IssuerProcess
) -> None:
    told = error(bearer(federated, issuer.token(sub="old")))
    assert (told["error"], told["code"]) == ("invalid_grant", "identity_expired")


def test_rules_come_and_go_with_the_registry(federated: GatewayProcess, issuer: IssuerProcess) -> None:
    path = federated.folder / "registry.toml"
    written = path.read_text()
    begins, ends = (written.index(f'[identities."agent/{name}"]') for name in ("bee", "cat"))
    path.write_text(written[:begins] + written[ends:])
    try:
        federated.command("apply", "--yes")
        said = bearer(federated, issuer.token(sub="workload-2", stage="live"))
        assert error(said)["code"] == "identity_unmatched", "its rules left force with it"
    finally:
        path.write_text(written)
        federated.command("apply", "--yes")
    assert opened(bearer(federated, issuer.token(sub="workload-2", stage="live")))["identity"] == "agent/bee"


def test_the_metadata_names_the_token_endpoint_and_its_grants(federated: GatewayProcess) -> None:
    metadata = json.loads(federated.get("/.well-known/oauth-authorization-server")[1])
    assert metadata["token_endpoint"] == f"{federated.url}/oauth/token"
    assert metadata["grant_types_supported"] == [TOKEN_EXCHANGE, JWT_BEARER, CLIENT_CREDENTIALS]


# Bootstrap secrets.


def issue(gateway: GatewayProcess, identity: str = "agent/ant", expires_s: int = 3600) -> dict[str, str]:
    return gateway.admin("POST", "/secrets", {"identity": identity, "expires_s": expires_s})


def with_secret(gateway: GatewayProcess, identity: str, secret: str, *, basic: bool = False) -> Said:
    form = {"grant_type": CLIENT_CREDENTIALS}
    headers = dict(FORM)
    if basic:
        pair = f"{quote(identity, safe='')}:{quote(secret, safe='')}".encode()
        headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    else:
        form |= {"client_id": identity, "client_secret": secret}
    return ask(gateway, None, urlencode(form).encode(), path="/oauth/token", headers=headers)


@pytest.mark.parametrize("basic", [False, True])
def test_a_bootstrap_secret_opens_a_session_of_its_identity(federated: GatewayProcess, basic: bool) -> None:
    issued = issue(federated)
    said = opened(with_secret(federated, "agent/ant", issued["secret"], basic=basic))
    assert said["identity"] == "agent/ant"
    assert ask(federated, said["access_token"]).status == 200
    (session,) = [row for row in federated.admin("GET", "/sessions?limit=100") if row["id"] == said["session"]]
    assert session["minted_by"] == f"secret:{issued['id']}"


@pytest.mark.parametrize(
    ("identity", "change"),
    [
        ("agent/bee", lambda secret: secret),
        ("agent/nobody", lambda secret: secret),
        ("agent/ant", lambda secret: secret[:-1]),
        ("agent/ant", lambda secret: secret[:-3] + "AAA"),
        ("agent/ant", lambda secret: "cptrsec_" + "0" * 26 + secret[-44:]),
        ("agent/ant", lambda secret: "hello"),
        ("agent/ant", lambda secret: secret + "\0"),
    ],
)
def test_another_secret_or_identity_is_no_client(federated: GatewayProcess, identity: str, change: Any) -> None:
    secret = change(issue(federated)["secret"])
    said = with_secret(federated, identity, secret)
    assert (said.status, error(said)["error"], "www-authenticate" in said.headers) == (401, "invalid_client", True)
    assert error(said)["error_description"] == "This is no secret of this identity."


@pytest.mark.parametrize(
    "fields", [{}, {"client_id": "agent/ant"}, {"client_secret": "x"}, {"client_id": "", "client_secret": "x"}]
)
def test_half_a_client_is_none(federated: GatewayProcess, fields: dict[str, str]) -> None:
    said = post(federated, grant_type=CLIENT_CREDENTIALS, **fields)
    assert (said.status, error(said)["error"]) == (401, "invalid_client")


def test_guessing_is_bounded_and_stops_nobody_who_has_a_secret(federated: GatewayProcess) -> None:
    one, other = issue(federated)["secret"], issue(federated)["secret"]
    wrong = one[:-3] + ("AAA" if not one.endswith("AAA") else "BBB")
    answers = [with_secret(federated, "agent/ant", wrong).status for _ in range(MOST_GUESSES + 2)]
    assert answers == [401] * MOST_GUESSES + [429, 429]
    assert with_secret(federated, "agent/ant", wrong).headers["retry-after"] == "60"
    assert opened(with_secret(federated, "agent/ant", one)), "who guesses locks nobody out"
    assert opened(with_secret(federated, "agent/ant", other))


def test_a_secret_ends(federated: GatewayProcess) -> None:
    issued = issue(federated, expires_s=1)
    ended = eventually(
        lambda: said if (said := with_secret(federated, "agent/ant", issued["secret"])).status != 200 else None
    )
    assert error(ended)["error_description"].startswith(f"The secret {issued['id']} ended at ")
    (row,) = [row for row in federated.admin("GET", "/secrets?all=true") if row["id"] == issued["id"]]
    assert row["state"] == "expired"
    assert issued["id"] not in [row["id"] for row in federated.admin("GET", "/secrets")]
