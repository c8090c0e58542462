"""What is thrown at the caller API (`/oauth/*`, `/comptroller/v1/*`, `/.well-known/*`): nearly right, as raw bytes."""

import base64
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.fuzz.shots import VALUES, Shot, framed, mutated, thrown

ISSUER, AUDIENCE, KEYS = "https://id.acme.example", "https://gateway.acme.example", "jwks.json"
WELL_KNOWN = ("/.well-known/oauth-authorization-server", "/.well-known/jwks.json")
FORMS = ("application/x-www-form-urlencoded", "application/json", "")
SESSIONS = "/comptroller/v1/sessions"
REQUESTS = "/comptroller/v1/identity-requests"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TYPE = "urn:ietf:params:oauth:token-type:"
WORK: dict[str, Any] = {
    "name": "helper",
    "tenant": "shop-7",
    "task_type": "ticket",
    "task": "T-1",
    "bounds": {"usd": "0.01", "tokens": 1000, "wall_clock_s": 60},
    "models": ["sandbox-*"],
    "lifetime_s": 60,
}
WISH: dict[str, Any] = {
    "owner": "blue-lead@acme.example",
    "purpose": "answers tickets",
    "environment": "testing",
    "kind": "agent",
    "name": "agent/cat",
}
ACTS: Mapping[str, dict[str, Any]] = {
    "": WORK,
    "/self/credential": {"lifetime_s": 60},
    "/self/narrow": {"bounds": {"tokens": 10_000}, "reason": "less"},
    "/self/renew": {"bounds": {"tokens": 10_000}, "reason": "more"},
    "/self/close": {"outcome": "succeeded"},
}


class Known(NamedTuple):
    """What a caller may hold. Whoever throws closes and revokes it, so it is replaced now and then."""

    credential: str
    secret: str
    tokens: list[str]


def trust(folder: Path, dice: random.Random) -> list[str]:
    """Write the keys of an issuer, and return tokens of it: genuine ones, with claims and heads of all kinds."""
    key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
    (folder / KEYS).write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "me", "exp": 4_000_000_000, "iat": 1_700_000_000, "nbf": 1}
    good = jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)
    found = [good] * 10
    for _ in range(100):
        said = {**claims, "azp": "cli", "events": {}} if dice.random() < 0.2 else dict(claims)
        for name in dice.sample(sorted(said), dice.choice((0, 1, 1, 2))):
            said[name] = dice.choice(VALUES)
        head: Any = {"alg": "RS256", "kid": dice.choice(("one", "one", "one", "two", ""))}
        if dice.random() < 0.3:
            head |= {dice.choice(("typ", "cty", "crit", "kid", "jwk", "jku", "b64", "x5c")): dice.choice(VALUES)}
        content = f"{_part(head)}.{_part(said)}"
        signature = key.raw_value.sign(content.encode(), PKCS1v15(), SHA256())
        found.append(f"{content}.{_coded(signature)}")
    heads = ({"alg": alg, "kid": "one"} for alg in ("none", "HS256", "RS512", "ES256", "EdDSA", ""))
    found += [f"{_part(head)}.{good.split('.', 1)[1]}" for head in heads]
    found += [good[:-5], good + "A", good.replace(".", ".."), "a.b.c", "..", ".", "x" * 20_000, f"{good}={good}"]
    return found


def caller_shot(dice: random.Random, known: Known) -> Shot:
    """At the caller API."""
    kind = dice.random()
    if kind < 0.5:
        return _oauth(dice, known)
    if kind < 0.85:
        return _session(dice, known)
    if kind < 0.93:
        return _request(dice, known)
    path = dice.choice((*WELL_KNOWN, "/.well-known/", "/oauth/"))
    return thrown(dice, framed(dice, [f"GET {path}{_tail(dice)} HTTP/1.1", "host: gateway", "connection: close"], b""))


def _oauth(dice: random.Random, known: Known) -> Shot:
    path = dice.choices(("token", "introspect", "revoke"), (8, 2, 0.2))[0]
    form: dict[str, Any] = {"token": known.credential}
    if path == "token":
        token, session = dice.choice(known.tokens), known.credential
        forms: tuple[dict[str, Any], ...] = (
            {"grant_type": BEARER, "assertion": token},
            {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": f"{TYPE}jwt"},
            {"grant_type": EXCHANGE, "subject_token": session, "subject_token_type": f"{TYPE}access_token"},
            {
                "grant_type": EXCHANGE,
                "subject_token": session,
                "subject_token_type": f"{TYPE}access_token",
                "actor_token": token,
                "actor_token_type": f"{TYPE}{dice.choice(('jwt', 'access_token'))}",
            },
            {"grant_type": "client_credentials", "client_id": "agent/ant", "client_secret": known.secret},
        )
        form = dict(dice.choice(forms))
        if dice.random() < 0.5:
            form["work"] = json.dumps(_changed(dice, WORK))
        if dice.random() < 0.2:
            form[dice.choice(("session", "audience", "scope", "lifetime_s", "resource"))] = dice.choice(VALUES)
    changed = _changed(dice, form)
    form = changed if isinstance(changed, dict) else {}
    pairs = [(str(name), value if isinstance(value, str) else json.dumps(value)) for name, value in form.items()]
    pairs += dice.sample(pairs, 1) if pairs and dice.random() < 0.05 else []
    body = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs).encode()
    if dice.random() < 0.1:
        at = dice.randrange(len(body) + 1)
        body = body[:at] + dice.choice((b"%ff", b"\xff", b"%", b"&&=&", b";", b"a=b&" * 40, b"\x00")) + body[at:]
    lines = [f"POST /oauth/{path}{_tail(dice)} HTTP/1.1", "host: gateway", "connection: close"]
    lines += [f"content-type: {dice.choices(FORMS, (15, 1, 1))[0]}"]
    lines += [f"authorization: {_authorization(dice, known)}"] if dice.random() < 0.4 else []
    return thrown(dice, framed(dice, lines, body))


def _session(dice: random.Random, known: Known) -> Shot:
    act = dice.choices(list(ACTS), (6, 2, 3, 2, 0.2))[0]
    if dice.random() < 0.1:
        act = act.replace("self", dice.choice(("ses_nobody", "%00", "..", "self%2f", "é", "s" * 3000)))
    sent = _changed(dice, ACTS.get(act, {"reason": "x"}))
    if act == "" and isinstance(sent, dict) and dice.random() < 0.2:
        wanted = dice.choice(("agent/bee", "agent/ant", "nobody"))
        sent = {**sent, "identity": wanted, "actor_token": dice.choice(known.tokens)}
    body = json.dumps(sent).encode()
    if dice.random() < 0.1:
        at = dice.randrange(len(body))
        body = body[:at] + dice.choice((b"\xff", b"[" * 5000, b"9" * 5000, b"NaN", b"\\ud800", b"{")) + body[at:]
    method = dice.choices(("POST", "GET", "DELETE"), (12, 2, 1))[0]
    lines = [f"{method} {SESSIONS}{act}{_tail(dice)} HTTP/1.1", "host: gateway", "connection: close"]
    lines += [f"authorization: Bearer {known.credential}"] if dice.random() < 0.95 else []
    return thrown(dice, framed(dice, lines, body if method == "POST" else b""))


def _request(dice: random.Random, known: Known) -> Shot:
    method = dice.choices(("POST", "GET"), (3, 1))[0]
    lines = [f"{method} {REQUESTS}{'/self' if method == 'GET' else ''}{_tail(dice)} HTTP/1.1"]
    lines += ["host: gateway", "connection: close"]
    lines += [f"authorization: Bearer {dice.choice((*known.tokens, known.credential))}"]
    body = json.dumps(_changed(dice, WISH)).encode()
    return thrown(dice, framed(dice, lines, body if method == "POST" else b""))


def _changed(dice: random.Random, value: Mapping[str, Any]) -> Any:
    changed = json.loads(json.dumps(value))
    for _ in range(dice.choice((0, 0, 0, 1, 1, 3))):
        changed = mutated(dice, changed) if isinstance(changed, dict) else changed
    return changed


def _authorization(dice: random.Random, known: Known) -> str:
    pair = dice.choice((f"agent/ant:{known.secret}", "agent/ant", ":", "é:é", f"%ff:{known.secret}", "x" * 9000))
    basic = base64.b64encode(pair.encode()).decode()
    others = ("Basic", "Basic ====", "Negotiate x", "")
    words = (f"Basic {basic}", f"Bearer {known.credential}", f"basic  {basic} ", *others)
    return dice.choice(words)


def _tail(dice: random.Random) -> str:
    return dice.choices(("", "/", "?x=y", "/x", "%2e%2e/", "?" + "a=b&" * 500), (30, 1, 1, 1, 1, 1))[0]


def _quoted(text: str) -> str:
    return quote_plus(text, errors="surrogatepass")


def _part(value: Any) -> str:
    return _coded(json.dumps(value).encode())


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
