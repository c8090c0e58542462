"""Providers are built from settings; their keys are read once and never shown."""

import logging
import secrets
from pathlib import Path

import pytest

from comptroller.flow.upstream import Origin, Timeouts
from comptroller.gateway.providers import Providers, build_providers
from comptroller.settings import BaseUrl, KeySource, ProviderSettings

HTTPS = BaseUrl("https", "api.example", 443, "/openai")


def build(settings: ProviderSettings, environ: dict[str, str] | None = None) -> Providers:
    return build_providers({"p": settings}, environ or {})


def test_what_is_set_is_taken_over() -> None:
    settings = ProviderSettings(
        dialects=("openai", "anthropic"),
        base_url=HTTPS,
        api_key=KeySource("env", "KEY"),
        environments=("testing",),
        abort_stops_billing=True,
        tail_tokens=9,
        bills_errors=False,
        output_limit_field="max_tokens",
        connect_timeout_s=1,
        first_byte_timeout_s=2,
        idle_timeout_s=3,
        total_timeout_s=4,
    )
    found = build(settings, {"KEY": "abc"})
    assert found.warnings == ()
    one = found.by_name["p"]
    assert one.name == "p"
    assert one.dialects == ("openai", "anthropic")
    assert one.origin == Origin("https", "api.example", 443, "/openai", allow_private=False)
    assert one.credentials == {"openai": (b"authorization", b"Bearer abc"), "anthropic": (b"x-api-key", b"abc")}
    assert one.key == b"abc"
    assert one.environments == ("testing",)
    assert one.timeouts == Timeouts(1, 2, 3, 4)
    assert (one.abort_stops_billing, one.tail_tokens, one.bills_errors) == (True, 9, False)
    assert one.output_limit_field == "max_tokens"
    assert one.missing is None


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({}, (b"authorization", b"Bearer abc")),
        ({"api_key_header": "Api-Key"}, (b"api-key", b"abc")),
        ({"api_key_header": "Authorization"}, (b"authorization", b"Bearer abc")),
        ({"azure_api_version": "2024-10-21"}, (b"api-key", b"abc")),
        ({"azure_api_version": "2024-10-21", "api_key_header": "x-key"}, (b"x-key", b"abc")),
    ],
)
def test_the_header_of_a_key(settings: dict[str, str], header: tuple[bytes, bytes]) -> None:
    one = ProviderSettings(dialects=("openai",), base_url=HTTPS, api_key=KeySource("env", "KEY"), **settings)
    found = build(one, {"KEY": "abc"}).by_name["p"]
    assert found.credentials == {"openai": header}
    assert found.key == b"abc"


def test_azure_s_paths_begin_with_openai_once() -> None:
    one = ProviderSettings(dialects=("openai",), base_url=HTTPS, azure_api_version="2024-10-21")
    found = build(one).by_name["p"]
    assert found.origin.path_prefix == ""
    assert found.path("openai", "/v1/embeddings", "d").startswith("/openai/deployments/d/embeddings?")
    assert found.path("anthropic", "/v1/messages", "d") == "/v1/messages"


def test_keys_at_one_host_are_known_to_each_other() -> None:
    def at(url: BaseUrl, variable: str) -> ProviderSettings:
        return ProviderSettings(dialects=("openai",), base_url=url, api_key=KeySource("env", variable))

    elsewhere = BaseUrl("https", "other.example", 443, "")
    settings = {"a": at(HTTPS, "A"), "b": at(HTTPS, "B"), "c": at(elsewhere, "C")}
    keys = {name: f"{name}-" + "k" * 20 for name in "ABC"}
    found = build_providers(settings, keys).by_name
    text = " ".join(keys.values()).encode()
    assert found["a"].mask.plain(text) == found["b"].mask.plain(text) != text
    assert found["a"].mask.plain(text).endswith(keys["C"].encode()), "whoever was never given it cannot show it"
    assert found["c"].mask.plain(text).startswith(keys["A"].encode())
    assert all(key not in repr(found) for key in keys.values())


def test_a_server_without_keys_gets_none() -> None:
    one = build(ProviderSettings(dialects=("openai",), base_url=HTTPS)).by_name["p"]
    assert one.credentials == {}
    assert one.missing is None


@pytest.mark.parametrize(
    ("host", "named", "allowed"),
    [
        ("api.example", False, False),
        ("api.example", True, True),
        ("localhost", False, True),
        ("127.0.0.1", False, True),
        ("127.9.9.9", False, True),
        ("::1", False, True),
        ("10.0.0.8", False, True),
        ("192.168.7.7", False, True),
        ("fd12::1", False, True),
        ("8.8.8.8", False, False),
        ("localhost.example", False, False),
    ],
)
def test_private_addresses_are_for_who_names_them(host: str, named: bool, allowed: bool) -> None:
    settings = ProviderSettings(dialects=("openai",), base_url=BaseUrl("https", host, 443, ""), private_network=named)
    assert build(settings).by_name["p"].origin.allow_private is allowed


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        (None, "is not set"),
        ("", "is empty"),
        (" \n", "is empty"),
        ("abc def", "holds characters that no key has"),
        ("abc\r\nx-evil: 1", "holds characters that no key has"),
        ("abc\x7f", "holds characters that no key has"),
        ("abc\u00e9", "holds characters that no key has"),
        ("abc\udcff", "holds characters that no key has"),
        ("a" * 9000, "holds more than a key can be"),
        ("cptr_abc", "holds a credential of Comptroller's own, not the provider's key"),
        ("cptradm_abc", "holds a credential of Comptroller's own, not the provider's key"),
        (" cptrsec_abc\n", "holds a credential of Comptroller's own, not the provider's key"),
    ],
)
def test_without_a_key_a_provider_is_there_and_says_why(found: str | None, missing: str) -> None:
    settings = ProviderSettings(dialects=("openai",), base_url=HTTPS, api_key=KeySource("env", "MY_KEY"))
    built = build(settings, {} if found is None else {"MY_KEY": found})
    one = built.by_name["p"]
    assert one.credentials == {}
    assert one.missing == f"environment variable MY_KEY {missing}"
    assert built.warnings == (f"Calls to the provider p will be refused: {one.missing}.",)
    assert "abc" not in f"{built!r}"


class TestFile:
    def settings(self, path: Path) -> ProviderSettings:
        return ProviderSettings(dialects=("openai",), base_url=HTTPS, api_key=KeySource("file", str(path)))

    def test_the_line_end_is_not_part_of_the_key(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.touch(0o600)
        path.write_bytes(b"abc\r\n")
        found = build(self.settings(path))
        assert found.by_name["p"].credentials == {"openai": (b"authorization", b"Bearer abc")}
        assert found.warnings == ()

    def test_one_that_everyone_can_read_is_worth_a_warning(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"abc")
        path.chmod(0o644)
        found = build(self.settings(path))
        assert found.by_name["p"].credentials
        (warning,) = found.warnings
        assert f"chmod 600 {path}" in warning
        assert "abc" not in warning

    @pytest.mark.parametrize(
        ("content", "missing"),
        [(b"", "is empty"), (b"a\nb", "holds characters"), (b"\xff", "holds characters"), (b"a" * 9000, "holds more")],
    )
    def test_one_without_a_key(self, tmp_path: Path, content: bytes, missing: str) -> None:
        path = tmp_path / "key"
        path.touch(0o600)
        path.write_bytes(content)
        one = build(self.settings(path)).by_name["p"]
        assert one.credentials == {}
        assert one.missing is not None
        assert one.missing.startswith(f"file {path} {missing}")

    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        one = build(self.settings(tmp_path / "none")).by_name["p"]
        assert one.missing == f"file {tmp_path / 'none'} cannot be read (No such file or directory)"
        one = build(self.settings(tmp_path)).by_name["p"]
        assert one.missing == f"file {tmp_path} cannot be read (Is a directory)"


def test_a_key_is_in_no_text_about_a_provider(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = secrets.token_urlsafe(20)
    path = tmp_path / "key"
    path.write_text(f"{key}\n")
    caplog.set_level(logging.DEBUG)
    for source, environ in ((KeySource("env", "KEY"), {"KEY": key}), (KeySource("file", str(path)), {})):
        settings = ProviderSettings(dialects=("openai",), base_url=HTTPS, api_key=source)
        found = build(settings, environ)
        assert found.by_name["p"].credentials
        for text in (repr(found), str(found), repr(found.by_name["p"]), f"{settings!r}", str(source), *found.warnings):
            assert key not in text
    assert key not in caplog.text
