"""Credentials that are none, not ours, or too old; and no credential and no key anywhere it does not belong."""

import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey

from comptroller.core.identity.credential import Claims
from comptroller.store.keyring import open_keyring
from tests.end_to_end.caller import CHAT, Said, ask, budget_of, chat, encoded, eventually, mint
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

GOOD = encoded(chat(max_tokens=5))
KEY_FILES = {"admin-token", "signing-keys.json"}
SECOND_NS = 10**9


@dataclass(frozen=True)
class Bad:
    """A credential that must not work, and the code that says why."""

    text: str
    code: str = "credential_invalid"


def base64(value: bytes | Mapping[str, object]) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unbase64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def issued(folder: Path, session: str, *, begins_s: int, ends_s: int, domain: str = "acme.example") -> str:
    """Signed with the key of this state folder; seconds from now."""
    now_ns = time.time_ns()
    claims = Claims(
        "crd_made", "agent/ant", session, now_ns + begins_s * SECOND_NS, now_ns + ends_s * SECOND_NS, "test"
    )
    return open_keyring(folder, domain, now_ns).issue(claims)


def forged(good: str, gateway: GatewayProcess) -> dict[str, Bad]:
    """Changed copies of a good one."""
    header, payload, signature = good.removeprefix("cptr_").split(".")
    fields = json.loads(unbase64(header))
    claims = json.loads(unbase64(payload))
    richer = base64(claims | {"sub": "spiffe://acme.example/service/walled"})
    changed = ("B" if signature[0] == "A" else "A") + signature[1:]
    stranger = OKPKey.generate_key("Ed25519")
    public = json.loads((gateway.state / "signing-keys.json").read_text())["keys"][-1]["key"]["x"]

    def with_header(header: Mapping[str, object], key: OKPKey | OctKey, algorithm: str) -> str:
        return jws.serialize_compact(
            {**header}, unbase64(payload), key, registry=jws.JWSRegistry(algorithms=[algorithm])
        )

    return {
        "another signature": Bad(f"cptr_{header}.{payload}.{changed}"),
        "another payload": Bad(f"cptr_{header}.{richer}.{signature}"),
        "no signature": Bad(f"cptr_{header}.{payload}."),
        "two parts": Bad(f"cptr_{header}.{payload}"),
        "cut": Bad(good[:-1]),
        "longer": Bad(good + "A"),
        "padded": Bad(good + "=="),
        "without its prefix": Bad(good.removeprefix("cptr_")),
        "in upper case": Bad(good.upper()),
        "alg none": Bad(f"cptr_{base64({**fields, 'alg': 'none'})}.{payload}."),
        "alg none, signed": Bad(f"cptr_{base64({**fields, 'alg': 'none'})}.{payload}.{signature}"),
        "hmac by our public key": Bad(
            "cptr_" + with_header({**fields, "alg": "HS256"}, OctKey.import_key(unbase64(public)), "HS256")
        ),
        "a stranger under our key's name": Bad("cptr_" + with_header(fields, stranger, "Ed25519")),
        "a stranger's own key in the header": Bad(
            "cptr_" + with_header({**fields, "jwk": stranger.as_dict(private=False)}, stranger, "Ed25519")
        ),
    }


@pytest.fixture(scope="module")
def session(gateway_process: GatewayProcess) -> dict[str, str]:
    return mint(gateway_process)


@pytest.fixture(scope="module")
def bad(
    gateway_process: GatewayProcess, session: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Bad]:
    """Every credential that must not work."""
    gateway, good, own = gateway_process, session["credential"], gateway_process.state
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    return forged(good, gateway) | {
        "expired": Bad(issued(own, session["session"], begins_s=-7200, ends_s=-1), "credential_expired"),
        "of the future": Bad(issued(own, session["session"], begins_s=3600, ends_s=7200)),
        "of a session nobody opened": Bad(issued(own, "ses_nobody", begins_s=-1, ends_s=600), "session_ended"),
        "of another organization": Bad(
            issued(own, session["session"], begins_s=-1, ends_s=600, domain="other.example")
        ),
        "of another gateway": Bad(issued(elsewhere, session["session"], begins_s=-1, ends_s=600)),
        "the admin's": Bad(gateway.admin_token()),
        "the provider's own key": Bad(PROVIDER_KEY),
        "some provider's key": Bad("sk-proj-" + "x" * 150),
        "a word": Bad("secret"),
        "very long": Bad("cptr_" + "x" * 30_000),
        "bytes above ascii": Bad("cptr_\u00e9\u00ff." + "x" * 20),
    }


NAMES = [
    "another signature", "another payload", "no signature", "two parts", "cut", "longer", "padded",
    "without its prefix", "in upper case", "alg none", "alg none, signed", "hmac by our public key",
    "a stranger under our key's name", "a stranger's own key in the header", "expired", "of the future",
    "of a session nobody opened", "of another organization", "of another gateway", "the admin's",
    "the provider's own key", "some provider's key", "a word", "very long", "bytes above ascii",
]  # fmt: skip


def assert_refused(said: Said, code: str, *secrets: str) -> None:
    assert (said.status, said.code) == (402 if code == "session_ended" else 401, code), said.body
    assert said.error["type"] == ("billing_error" if code == "session_ended" else "authentication_error")
    assert said.headers["x-should-retry"] == "false"
    assert "comptroller token" in said.error["message"] or "Send one" in said.error["message"]
    assert not [secret for secret in secrets if secret.encode("latin-1") in said.body]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_credential_gets_nothing_in_any_slot(
    gateway: GatewayProcess, sandbox: SandboxProcess, bad: dict[str, Bad], name: str
) -> None:
    each = bad[name]
    for slot in ({"authorization": f"Bearer {each.text}"}, {"x-api-key": each.text}, {"api-key": each.text}):
        assert_refused(ask(gateway, None, GOOD, headers=slot), each.code, each.text)
    assert sandbox.count() == 0
    assert budget_of(gateway, "ant-all")["held"] == "0.00"


def test_every_bad_credential_is_tried(bad: dict[str, Bad]) -> None:
    assert sorted(bad) == sorted(NAMES)


def test_a_credential_ends_when_it_says(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    short = mint(gateway, lifetime_s=1)["credential"]
    said = eventually(lambda: s if (s := ask(gateway, short, GOOD)).status != 200 else None)
    assert_refused(said, "credential_expired", short)


def test_two_different_credentials_are_refused_whichever_is_good(
    gateway: GatewayProcess, sandbox: SandboxProcess, session: dict[str, str]
) -> None:
    good, other = session["credential"], mint(gateway, "agent/bee")["credential"]
    pairs = [(good, other), (good, "sk-other"), ("sk-other", good), (good, gateway.admin_token())]
    for one, two in pairs:
        for slot in ("x-api-key", "api-key", "x-goog-api-key"):
            assert_refused(ask(gateway, one, GOOD, headers={slot: two}), "credential_invalid", one, two)
    assert sandbox.count() == 0
    assert ask(gateway, good, GOOD, headers={"x-api-key": good, "api-key": f" {good} "}).status == 200  # one, thrice


def test_a_credential_in_the_query_string_is_none(
    gateway: GatewayProcess, sandbox: SandboxProcess, session: dict[str, str]
) -> None:
    good = session["credential"]
    for name in ("api_key", "key", "access_token", "authorization"):
        said = ask(gateway, None, GOOD, path=f"{CHAT}?{name}={good}")
        assert_refused(said, "credential_missing", good)
    assert sandbox.count() == 0


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "credential_missing"),
        (" ", "credential_missing"),
        ("Bearer", "credential_missing"),
        ("Bearer  \t ", "credential_missing"),
        ("Basic dXNlcjpwYXNz", "credential_invalid"),
        ("Bearer Bearer", "credential_invalid"),
    ],
)
def test_a_slot_without_a_credential(gateway: GatewayProcess, sandbox: SandboxProcess, value: str, code: str) -> None:
    assert_refused(ask(gateway, None, GOOD, headers={"authorization": value}), code)
    assert sandbox.count() == 0


def files_of_state(gateway: GatewayProcess) -> Iterator[tuple[str, bytes]]:
    """The log, and every file of the state folder that is not a key file."""
    yield "its log", gateway.log().encode()
    for path in sorted(gateway.state.rglob("*")):
        if path.is_file() and path.name not in KEY_FILES:
            yield path.name, path.read_bytes()


def test_no_credential_and_no_key_is_left_in_the_log_or_the_state_folder(
    gateway: GatewayProcess, sandbox: SandboxProcess, session: dict[str, str], bad: dict[str, Bad]
) -> None:
    """Good and bad ones, in good and bad requests, by good and bad ways; the provider's key in its faults too."""
    good = session["credential"]
    for credential in (good, *(each.text for each in bad.values())):
        ask(gateway, credential, GOOD)
        ask(gateway, credential, b"{")
        ask(gateway, credential, GOOD, headers={"x-api-key": good})
        ask(gateway, credential, GOOD, headers={"content-encoding": "br", "cookie": f"key={good}"})
        ask(gateway, None, GOOD, path=f"{CHAT}?key={base64(credential.encode('latin-1'))}")
    ask(gateway, good, GOOD, path=f"{CHAT}/{good}")
    ask(gateway, good, GOOD, path=f"{CHAT}?key={good}")
    for fault in ("unauthorized", "forbidden", "bad_request", "not_http", "malformed_json", "cut_before_headers"):
        said = ask(gateway, good, chat(sandbox={"fault": fault}))
        assert PROVIDER_KEY.encode() not in said.body
    gateway.admin("GET", "/status")  # writes and folds everything
    secrets = [good, PROVIDER_KEY, gateway.admin_token(), *(each.text for each in bad.values() if len(each.text) > 20)]
    signature = good.rpartition(".")[2]
    found = dict(files_of_state(gateway))
    assert {"comptroller.db", "its log"} <= found.keys()
    for name, content in found.items():
        for secret in (*secrets, signature):
            assert secret.encode("latin-1") not in content, name
            assert secret.encode() not in content, name
    assert b"agent/ant" in found["comptroller.db"] + found.get("comptroller.db-wal", b""), "the look is not blind"
