"""Session credentials: what we issue verifies, what anybody else could make does not."""

import base64
import hmac
import json
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from comptroller.core.identity.credential import LONGEST_LIFETIME_S, PREFIX, Actor, Claims
from comptroller.core.refusal import Refusal
from comptroller.store import keyring as module
from comptroller.store.keyring import Keyring, open_keyring
from comptroller.store.secret_file import SecretFileError

SECOND = 1_000_000_000
NOW_S = 1_800_000_000
NOW = NOW_S * SECOND
DOMAIN = "acme.example"


def claims(*, issued: int = NOW, lifetime_s: int = 3600, identity: str = "agent/scout") -> Claims:
    return Claims("cred_1", identity, "ses_1", issued, issued + lifetime_s * SECOND, "admin")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def keyring(folder: Path) -> Keyring:
    return open_keyring(folder, DOMAIN, NOW)


def refused(answer: Claims | Refusal, code: str = "credential_invalid") -> bool:
    return isinstance(answer, Refusal) and answer.code == code


def test_what_is_issued_verifies(keyring: Keyring) -> None:
    credential = keyring.issue(claims())
    assert credential.startswith(PREFIX)
    assert keyring.verify(credential, NOW) == claims()
    assert keyring.verify(credential, NOW) == claims(), "the remembered one says the same"


def test_the_header_is_typed_and_pinned(keyring: Keyring) -> None:
    header = decode(keyring.issue(claims()).removeprefix(PREFIX).split(".")[0])
    assert header == {"alg": "Ed25519", "typ": "cptr+jwt", "kid": keyring.key_ids[-1]}


def test_the_signed_facts_are_as_documented(keyring: Keyring) -> None:
    payload = decode(keyring.issue(claims()).removeprefix(PREFIX).split(".")[1])
    assert payload == {
        "iss": f"spiffe://{DOMAIN}",
        "sub": f"spiffe://{DOMAIN}/agent/scout",
        "aud": "comptroller",
        "jti": "cred_1",
        "sid": "ses_1",
        "mby": "admin",
        "iat": NOW_S,
        "nbf": NOW_S,
        "exp": NOW_S + 3600,
    }


def test_instants_are_cut_so_that_a_credential_never_lasts_longer(keyring: Keyring) -> None:
    verified = keyring.verify(
        keyring.issue(Claims("c", "agent/a", "s", NOW + 7, NOW + 10 * SECOND + 999, "m")), NOW + 8
    )
    assert isinstance(verified, Claims)
    assert (verified.issued_at_ns, verified.expires_at_ns) == (NOW, NOW + 10 * SECOND)


@pytest.mark.parametrize("lifetime_s", [0, -5, LONGEST_LIFETIME_S + 1])
def test_a_lifetime_that_would_not_verify_is_not_issued(keyring: Keyring, lifetime_s: int) -> None:
    with pytest.raises(ValueError, match="lives between"):
        keyring.issue(claims(lifetime_s=lifetime_s))


@pytest.mark.parametrize("identity", ["agent", "", "../agent/x", "agent/" + "/".join(["x" * 64] * 80)])
def test_only_registered_forms_of_identity_are_issued(keyring: Keyring, identity: str) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        keyring.issue(claims(identity=identity))


class TestTime:
    def test_it_ends_on_its_instant(self, keyring: Keyring) -> None:
        credential = keyring.issue(claims(lifetime_s=60))
        assert isinstance(keyring.verify(credential, NOW + 60 * SECOND - 1), Claims)
        answer = keyring.verify(credential, NOW + 60 * SECOND)
        assert refused(answer, "credential_expired")
        assert "`comptroller token agent/scout`" in answer.hint

    def test_expired_before_it_was_ever_seen(self, keyring: Keyring) -> None:
        assert refused(keyring.verify(keyring.issue(claims()), NOW + 3601 * SECOND), "credential_expired")

    @pytest.mark.parametrize(("ahead_s", "good"), [(0, True), (60, True), (61, False), (3600, False)])
    def test_clocks_may_stand_a_minute_apart(self, keyring: Keyring, ahead_s: int, good: bool) -> None:
        answer = keyring.verify(keyring.issue(claims(issued=NOW + ahead_s * SECOND)), NOW)
        assert isinstance(answer, Claims) is good
        assert good or refused(answer)


# --- of sessions below others ------------------------------------------------------------------------


CHAIN = [Actor("agent/reader", "agent/reader/~k3"), Actor("agent/reader"), Actor("service/planner"), Actor("human/ann")]


def payload_of(credential: str) -> dict[str, Any]:
    segment = credential.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


class TestChains:
    def test_it_says_who_began_and_who_acts_for_whom(self, keyring: Keyring) -> None:
        """RFC 8693 section 4.1: the outermost actor acts, those inside of it did before."""
        credential = keyring.issue(claims(identity="agent/reader"), CHAIN)
        said = payload_of(credential)
        assert said["sub"] == f"spiffe://{DOMAIN}/human/ann"
        assert said["act"] == {
            "sub": f"spiffe://{DOMAIN}/agent/reader",
            "name": "agent/reader/~k3",
            "act": {"sub": f"spiffe://{DOMAIN}/agent/reader", "act": {"sub": f"spiffe://{DOMAIN}/service/planner"}},
        }
        assert len(credential) < 1024
        assert keyring.verify(credential, NOW) == claims(identity="agent/reader"), "who acts is whose call it is"

    def test_a_session_at_the_top_acts_for_nobody(self, keyring: Keyring) -> None:
        assert "act" not in payload_of(keyring.issue(claims()))

    @pytest.mark.parametrize("generations", [2, 4, 16])
    def test_however_deep_and_long_the_names_it_stays_short(self, keyring: Keyring, generations: int) -> None:
        names = ["agent/" + "/".join(["n" * 60] * 4) + f"{number:02d}" for number in range(generations)]
        credential = keyring.issue(claims(identity=names[0]), [Actor(name) for name in names])
        assert len(credential) <= 2048
        said = payload_of(credential)
        assert (said["sub"], said["act"]["sub"]) == tuple(f"spiffe://{DOMAIN}/{names[at]}" for at in (-1, 0))
        assert keyring.verify(credential, NOW) == claims(identity=names[0])


# --- forged ones ------------------------------------------------------------------------------------

PAYLOAD: dict[str, Any] = {
    "iss": f"spiffe://{DOMAIN}",
    "sub": f"spiffe://{DOMAIN}/agent/scout",
    "aud": "comptroller",
    "jti": "cred_1",
    "sid": "ses_1",
    "mby": "admin",
    "iat": NOW_S,
    "nbf": NOW_S,
    "exp": NOW_S + 3600,
}


class Attacker:
    """Knows every public thing about a keyring; `key` is the real one, for faults that only we could make."""

    def __init__(self, keyring: Keyring, folder: Path) -> None:
        self.key = OKPKey.import_key(json.loads((folder / module.FILE_NAME).read_bytes())["keys"][-1]["key"])
        self.header = {"alg": "Ed25519", "typ": "cptr+jwt", "kid": keyring.key_ids[-1]}
        self.good = keyring.issue(claims())

    def sign(self, payload: object, key: Any = None, **header: Any) -> str:
        """Our own key unless another is given; the header as ours, but for what is given."""
        text = payload if isinstance(payload, str) else json.dumps(payload)
        merged = {name: value for name, value in {**self.header, **header}.items() if value is not None}
        registry = jws.JWSRegistry(algorithms=[merged["alg"]], strict_check_header=False)
        return PREFIX + jws.serialize_compact(merged, text, key or self.key, registry=registry)

    def by_hand(self, header: object, make: Callable[[bytes], bytes], payload: object = None) -> str:
        signed = f"{encode(header)}.{encode(payload or PAYLOAD)}"
        return f"{PREFIX}{signed}.{b64(make(signed.encode()))}"

    def mac(self, secret: bytes, **header: Any) -> str:
        return self.by_hand(
            {**self.header, "alg": "HS256", **header}, lambda signed: hmac.digest(secret, signed, "sha256")
        )


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def encode(value: object) -> str:
    return b64(json.dumps(value, separators=(",", ":")).encode())


def decode(segment: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in PAYLOAD.items() if key != name}


def raw_public(a: Attacker) -> bytes:
    return base64.urlsafe_b64decode(a.key.as_dict(private=False)["x"] + "=")


Attack = Callable[[Attacker], str]
OTHER = OKPKey.generate_key("Ed25519")

FORGED: dict[str, Attack] = {
    "nothing": lambda a: "",
    "the prefix alone": lambda a: PREFIX,
    "no prefix": lambda a: a.good.removeprefix(PREFIX),
    "the prefix in capitals": lambda a: PREFIX.upper() + a.good.removeprefix(PREFIX),
    "a provider's key": lambda a: "sk-" + "x" * 12,
    "an admin credential": lambda a: "cptradm_" + "x" * 43,
    "the header Authorization whole": lambda a: f"Bearer {a.good}",
    "a space before": lambda a: f" {a.good}",
    "a line end after": lambda a: f"{a.good}\n",
    "longer than the bound": lambda a: a.good + "A" * 4096,
    "letters that are not ASCII": lambda a: a.good[:-1] + "\u0410",
    "half a surrogate": lambda a: a.good[:-1] + "\ud800",
    "a zero byte": lambda a: a.good[:-1] + "\0",
    "two parts": lambda a: a.good.rpartition(".")[0],
    "four parts": lambda a: a.good + ".AAAA",
    "five parts, as an encrypted one": lambda a: (
        PREFIX + ".".join([encode({"alg": "dir", "enc": "A128GCM"}), "", "A", "A", "A"])
    ),
    "no signature": lambda a: a.good.rpartition(".")[0] + ".",
    "a signature of zeros": lambda a: a.by_hand(a.header, lambda _: bytes(64)),
    "a signature of the neutral element": lambda a: a.by_hand(a.header, lambda _: b"\1" + bytes(63)),
    "padded base64": lambda a: a.good + "==",
    "alg none": lambda a: a.by_hand({**a.header, "alg": "none"}, lambda _: b""),
    "alg None": lambda a: a.by_hand({**a.header, "alg": "None"}, lambda _: bytes(64)),
    "alg none, our signature kept": lambda a: (
        f"{PREFIX}{encode({**a.header, 'alg': 'none'})}." + a.good.partition(".")[2]
    ),
    "no alg": lambda a: a.by_hand({"typ": "cptr+jwt", "kid": a.header["kid"]}, lambda _: bytes(64)),
    "HS256 with our public key": lambda a: a.mac(raw_public(a)),
    "HS256 with our public key as PEM": lambda a: a.mac(a.key.as_pem(private=False)),
    "HS256 with our public key as JWK": lambda a: a.mac(json.dumps(a.key.as_dict(private=False)).encode()),
    "HS256 with nothing": lambda a: a.mac(b"\0"),
    "HS256 with the key id": lambda a: a.mac(a.header["kid"].encode()),
    "RS256": lambda a: a.sign(PAYLOAD, RSAKey.generate_key(2048), alg="RS256"),
    "ES256": lambda a: a.sign(PAYLOAD, ECKey.generate_key("P-256"), alg="ES256"),
    "Ed448": lambda a: a.sign(PAYLOAD, OKPKey.generate_key("Ed448"), alg="Ed448"),
    "another key under our key id": lambda a: a.sign(PAYLOAD, OTHER),
    "another key under its own id": lambda a: a.sign(PAYLOAD, OTHER, kid=OTHER.thumbprint()[:16]),
    "another key in the header": lambda a: a.sign(PAYLOAD, OTHER, jwk=OTHER.as_dict(private=False)),
    "a place to fetch a key from": lambda a: a.sign(PAYLOAD, OTHER, jku="https://attacker.example/keys"),
    "a key id that is a path": lambda a: a.sign(PAYLOAD, OTHER, kid="../../../dev/null"),
    "a key id that is a list": lambda a: a.by_hand({**a.header, "kid": [a.header["kid"]]}, lambda _: bytes(64)),
    "no key id, our key": lambda a: a.sign(PAYLOAD, kid=None),
    "no type, our key": lambda a: a.sign(PAYLOAD, typ=None),
    "an ordinary JWT of our key": lambda a: a.sign(PAYLOAD, typ="JWT"),
    "the header in another order, our key": lambda a: a.by_hand(
        dict(reversed(a.header.items())), a.key.private_key.sign
    ),
    "an extension that must be understood, our key": lambda a: a.sign(PAYLOAD, crit=["b64"], b64=True),
    "a header that is deeply nested": lambda a: f"{PREFIX}{b64(b'[' * 1200)}.e30." + "A" * 86,
    "a header that is not JSON": lambda a: f"{PREFIX}{b64(b'{')}.e30." + "A" * 86,
    "a payload of another one": lambda a: ".".join(
        [a.good.split(".")[0], encode({**PAYLOAD, "sub": f"spiffe://{DOMAIN}/human/boss"}), a.good.split(".")[2]]
    ),
    # From here on signed by our own key: what a bug or another use of the key could produce.
    "a payload that is not JSON": lambda a: a.sign("{"),
    "a payload that is not an object": lambda a: a.sign([PAYLOAD]),
    "a payload of nulls": lambda a: a.sign(dict.fromkeys(PAYLOAD)),
    "a payload that is deeply nested": lambda a: a.sign('{"x":' + "[" * 2000),
    **{f"no {name}": (lambda a, name=name: a.sign(without(name))) for name in PAYLOAD},
    "another issuer": lambda a: a.sign({**PAYLOAD, "iss": "spiffe://evil.example"}),
    "an issuer with a path": lambda a: a.sign({**PAYLOAD, "iss": f"spiffe://{DOMAIN}/"}),
    "a subject of another domain": lambda a: a.sign({**PAYLOAD, "sub": "spiffe://evil.example/agent/scout"}),
    "a subject of a domain that begins like ours": lambda a: a.sign(
        {**PAYLOAD, "sub": f"spiffe://{DOMAIN}.evil.example/agent/scout"}
    ),
    "an actor of another domain": lambda a: a.sign({**PAYLOAD, "act": {"sub": "spiffe://evil.example/agent/scout"}}),
    "an actor who climbs": lambda a: a.sign({**PAYLOAD, "act": {"sub": f"spiffe://{DOMAIN}/agent/../human/boss"}}),
    "an actor without a subject": lambda a: a.sign({**PAYLOAD, "act": {"name": "agent/scout"}}),
    "an actor for nobody": lambda a: a.sign({**PAYLOAD, "sub": "", "act": {"sub": f"spiffe://{DOMAIN}/agent/scout"}}),
    "a subject without its domain": lambda a: a.sign({**PAYLOAD, "sub": "agent/scout"}),
    "a subject that climbs": lambda a: a.sign({**PAYLOAD, "sub": f"spiffe://{DOMAIN}/agent/../human/boss"}),
    "a subject without a name": lambda a: a.sign({**PAYLOAD, "sub": f"spiffe://{DOMAIN}/"}),
    "another audience": lambda a: a.sign({**PAYLOAD, "aud": "billing"}),
    "a list of audiences": lambda a: a.sign({**PAYLOAD, "aud": ["comptroller", "billing"]}),
    "an empty session": lambda a: a.sign({**PAYLOAD, "sid": ""}),
    "an empty credential id": lambda a: a.sign({**PAYLOAD, "jti": ""}),
    "nobody who minted it": lambda a: a.sign({**PAYLOAD, "mby": ""}),
    "a session that is a number": lambda a: a.sign({**PAYLOAD, "sid": 7}),
    "an expiry in words": lambda a: a.sign({**PAYLOAD, "exp": str(NOW_S + 60)}),
    "an expiry with decimals": lambda a: a.sign({**PAYLOAD, "exp": NOW_S + 60.5}),
    "an expiry that is true": lambda a: a.sign({**PAYLOAD, "exp": True}),
    "an expiry that is not a number": lambda a: a.sign({**PAYLOAD, "exp": float("nan")}),
    "an expiry without end": lambda a: a.sign({**PAYLOAD, "exp": float("inf")}),
    "an expiry of more than 64 bits": lambda a: a.sign({**PAYLOAD, "exp": 10**30}),
    "a life longer than the longest": lambda a: a.sign({**PAYLOAD, "exp": NOW_S + LONGEST_LIFETIME_S + 1}),
    "an expiry before its beginning": lambda a: a.sign({**PAYLOAD, "exp": NOW_S - 1}),
    "issued in the future": lambda a: a.sign({**PAYLOAD, "iat": NOW_S + 61}),
    "not valid before the future": lambda a: a.sign({**PAYLOAD, "nbf": NOW_S + 61}),
    "issued before time began": lambda a: a.sign({**PAYLOAD, "iat": -5, "nbf": -5, "exp": 60}),
}


@pytest.mark.parametrize("attack", FORGED)
def test_a_forged_credential_is_refused(attack: str, keyring: Keyring, folder: Path) -> None:
    attacker = Attacker(keyring, folder)
    assert isinstance(keyring.verify(attacker.good, NOW), Claims)
    forged = FORGED[attack](attacker)
    for _ in range(2):
        answer = keyring.verify(forged, NOW)
        assert refused(answer), answer
        assert answer.hint
        told = answer.message
        assert not any(part in told for part in forged.split(".") if len(part) > 12), "a refusal repeats the credential"


def test_the_attacks_are_aimed_well(keyring: Keyring, folder: Path) -> None:
    """The same tools, nothing wrong: it verifies. So it was the fault that was refused, not the tool."""
    attacker = Attacker(keyring, folder)
    for good in (
        attacker.sign(PAYLOAD),
        attacker.by_hand(attacker.header, attacker.key.private_key.sign),
        attacker.sign({**PAYLOAD, "more": "than we know"}),
    ):
        assert keyring.verify(good, NOW) == claims()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_refused(keyring: Keyring, data: st.DataObject) -> None:
    credential = keyring.issue(claims())
    place = data.draw(st.integers(0, len(credential) - 1))
    bit = data.draw(st.integers(0, 6))
    flipped = credential[:place] + chr(ord(credential[place]) ^ (1 << bit)) + credential[place + 1 :]
    assert refused(keyring.verify(flipped, NOW))


def test_every_flipped_bit_of_the_last_characters_is_refused(keyring: Keyring) -> None:
    """There base64 has bits that mean nothing, so that two texts could be the same signature."""
    credential = keyring.issue(claims())
    for place in range(len(credential) - 3, len(credential)):
        for bit in range(7):
            flipped = credential[:place] + chr(ord(credential[place]) ^ (1 << bit)) + credential[place + 1 :]
            assert refused(keyring.verify(flipped, NOW))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.one_of(st.text(), st.text("abcAZ09._-="), st.binary().map(lambda raw: raw.decode("latin-1"))))
def test_junk_is_refused(keyring: Keyring, junk: str) -> None:
    assert refused(keyring.verify(junk, NOW))
    assert refused(keyring.verify(PREFIX + junk, NOW))


class TestMemory:
    def test_it_is_bounded_and_forgets_the_oldest(self, keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "CACHED_CREDENTIALS", 3)
        credentials = [keyring.issue(claims(identity=f"agent/a{number}")) for number in range(5)]
        for credential in credentials * 2:
            assert isinstance(keyring.verify(credential, NOW), Claims)
        assert len(keyring._cache) == 3

    def test_it_never_holds_a_credential_or_a_wrong_one(self, keyring: Keyring) -> None:
        credential = keyring.issue(claims())
        keyring.verify(credential, NOW)
        keyring.verify(credential[:-4] + "AAAA", NOW)
        assert len(keyring._cache) == 1
        assert credential not in repr(keyring._cache)
        assert credential[-40:] not in repr(keyring._cache)

    def test_another_trust_domain_ends_what_was_remembered(self, keyring: Keyring) -> None:
        credential = keyring.issue(claims())
        assert isinstance(keyring.verify(credential, NOW), Claims)
        keyring.trust_domain = "other.example"
        assert refused(keyring.verify(credential, NOW))
        keyring.trust_domain = DOMAIN
        assert isinstance(keyring.verify(credential, NOW), Claims)


class TestRotation:
    def test_what_was_signed_before_stays_good_until_it_expires(self, keyring: Keyring, folder: Path) -> None:
        old = keyring.issue(claims(lifetime_s=LONGEST_LIFETIME_S))
        keyring.rotate(NOW + 5 * SECOND)
        new = keyring.issue(claims())
        assert old.split(".")[0] != new.split(".")[0]
        again = open_keyring(folder, DOMAIN, NOW)
        for ring in (keyring, again):
            assert isinstance(ring.verify(old, NOW + 6 * SECOND), Claims)
            assert isinstance(ring.verify(new, NOW + 6 * SECOND), Claims)
            last_ns = NOW + LONGEST_LIFETIME_S * SECOND
            assert isinstance(ring.verify(old, last_ns - 1), Claims)
            assert refused(ring.verify(old, last_ns), "credential_expired")

    def test_a_retired_key_vouches_for_nothing_new(self, keyring: Keyring, folder: Path) -> None:
        thief = Attacker(keyring, folder)
        keyring.rotate(NOW)
        later = {**PAYLOAD, "iat": NOW_S + 61, "nbf": NOW_S + 61}
        assert refused(keyring.verify(thief.sign(later), NOW + 120 * SECOND))
        assert isinstance(keyring.verify(thief.sign(PAYLOAD), NOW + 120 * SECOND), Claims)

    def test_keys_that_can_vouch_for_nothing_are_dropped(self, keyring: Keyring) -> None:
        first = keyring.key_ids[-1]
        keyring.rotate(NOW)
        keyring.rotate(NOW + LONGEST_LIFETIME_S * SECOND)
        assert first in keyring.key_ids
        keyring.rotate(NOW + (LONGEST_LIFETIME_S + 61) * SECOND)
        assert first not in keyring.key_ids
        assert len(keyring.key_ids) == 3

    def test_a_leaked_key_is_dropped_at_once(self, keyring: Keyring, folder: Path) -> None:
        old = keyring.issue(claims())
        assert isinstance(keyring.verify(old, NOW), Claims)
        made = keyring.rotate(NOW, distrust_old=True)
        assert keyring.key_ids == (made,)
        assert refused(keyring.verify(old, NOW))
        assert refused(open_keyring(folder, DOMAIN, NOW).verify(old, NOW))

    def test_a_rotation_that_cannot_be_written_changes_nothing(self, keyring: Keyring, folder: Path) -> None:
        good = keyring.issue(claims())
        folder.rename(folder.with_name("gone"))
        with pytest.raises(OSError, match="No such file"):
            keyring.rotate(NOW)
        assert keyring.issue(claims()).split(".")[0] == good.split(".")[0]
        assert isinstance(keyring.verify(good, NOW), Claims)


class TestFile:
    def test_only_its_owner_can_read_it(self, keyring: Keyring, folder: Path) -> None:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert [path.name for path in folder.iterdir()] == [module.FILE_NAME]
        assert stat.S_IMODE((folder / module.FILE_NAME).stat().st_mode) == 0o600
        keyring.rotate(NOW)
        assert stat.S_IMODE((folder / module.FILE_NAME).stat().st_mode) == 0o600
        assert [path.name for path in folder.iterdir()] == [module.FILE_NAME], "no draft is left"

    def test_it_survives_a_restart(self, keyring: Keyring, folder: Path) -> None:
        credential = keyring.issue(claims())
        again = open_keyring(folder, DOMAIN, NOW + SECOND)
        assert again.verify(credential, NOW) == claims()
        assert again.digest(b"body") == keyring.digest(b"body")

    def test_another_gateway_accepts_nothing_of_ours(self, keyring: Keyring, tmp_path: Path) -> None:
        other = open_keyring(tmp_path / "other", DOMAIN, NOW)
        assert refused(other.verify(keyring.issue(claims()), NOW))
        assert other.digest(b"body") != keyring.digest(b"body")

    def test_one_that_everyone_can_read_is_not_trusted(self, keyring: Keyring, folder: Path) -> None:
        (folder / module.FILE_NAME).chmod(0o644)
        with pytest.raises(SecretFileError, match="open to everyone"):
            open_keyring(folder, DOMAIN, NOW)

    @pytest.mark.parametrize(
        "change",
        [
            lambda file: b"",
            lambda file: b"[]",
            lambda file: b"\xff\xfe",
            lambda file: msgspec.json.encode({**file, "format": 2}),
            lambda file: msgspec.json.encode({**file, "keys": []}),
            lambda file: msgspec.json.encode({**file, "digest_key": ""}),
            lambda file: msgspec.json.encode({**file, "keys": [{**file["keys"][0], "key": {"kty": "OKP"}}]}),
            lambda file: msgspec.json.encode({**file, "keys": [{**file["keys"][0], "key": {}}]}),
            lambda file: msgspec.json.encode(file) + b" " * 2_000_000,
        ],
    )
    def test_one_that_is_damaged_is_said_to_be_and_left_alone(
        self, keyring: Keyring, folder: Path, change: Callable[[Any], bytes]
    ) -> None:
        path = folder / module.FILE_NAME
        file = json.loads(path.read_bytes())
        path.write_bytes(change(file))
        before = path.read_bytes()
        with pytest.raises(SecretFileError) as caught:
            open_keyring(folder, DOMAIN, NOW)
        assert str(path) in str(caught.value)
        assert path.read_bytes() == before
        shown = "".join(traceback.format_exception(caught.value))
        assert file["keys"][0]["key"]["d"] not in shown
        assert file["digest_key"] not in shown

    def test_its_keys_are_in_no_text_about_it(self, keyring: Keyring, folder: Path) -> None:
        file = json.loads((folder / module.FILE_NAME).read_bytes())
        stored = msgspec.json.decode((folder / module.FILE_NAME).read_bytes(), type=module._StoredKeys)
        signing = next(iter(keyring._keys.values()))
        shown = f"{keyring!r} {keyring} {stored!r} {stored.keys!r} {signing!r} {signing.key!r}"
        assert file["keys"][0]["key"]["d"] not in shown
        assert file["digest_key"] not in shown


def test_digests_are_keyed_and_say_nothing_else(keyring: Keyring) -> None:
    assert keyring.digest(b"a") == keyring.digest(b"a")
    assert keyring.digest(b"a") != keyring.digest(b"b")
    assert len(keyring.digest(b"")) == 32
    assert int(keyring.digest(b"x"), 16) >= 0
