"""comptroller.toml: defaults, every fault at once, and no secret repeated."""

import contextlib
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.settings import Address, KeySource, Settings, SettingsError, load_settings
from comptroller.settings.schema import AdminSettings, LimitSettings

EXAMPLE = """
listen = "127.0.0.1:8787"
state = ".comptroller"
store = "sqlite"
registry = "registry.toml"

[providers.openai]
dialects = ["openai"]
base_url = "https://api.openai.com"
api_key = "env:OPENAI_API_KEY"
environments = ["production"]

[providers.sandbox]
dialects = ["openai", "anthropic"]
base_url = "http://127.0.0.1:8788"
api_key = "env:SANDBOX_API_KEY"
"""
SECRET = "hunter2" * 3


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "comptroller.toml"


def load(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings(file)


def problems(file: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(file, text)
    lines = [problem.line for problem in caught.value.problems]
    assert all(line in str(caught.value) for line in lines)
    assert str(file) in str(caught.value)
    return lines


def provider(line: str) -> str:
    """A provider that is right but for one line."""
    name = line.partition("=")[0].strip()
    right = {"dialects": 'dialects = ["openai"]', "base_url": 'base_url = "https://h.example"'}
    return "\n".join(["[providers.p]", *(text for key, text in right.items() if key != name), line])


def test_the_example_of_the_design_is_right(file: Path) -> None:
    found = load(file, EXAMPLE)
    assert found.listen == Address("127.0.0.1", 8787)
    assert found.registry == file.parent / "registry.toml"
    assert found.providers["openai"].api_key == KeySource("env", "OPENAI_API_KEY")
    assert found.providers["openai"].environments == ("production",)
    assert found.providers["sandbox"].environments is None
    assert found.providers["sandbox"].dialects == ("openai", "anthropic")


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    assert load(file, "") == Settings(
        listen=Address("127.0.0.1", 8787),
        tls=None,
        state=file.parent / ".comptroller",
        store="sqlite",
        registry=file.parent / "registry.toml",
        policies=file.parent / "policies",
        durability="power",
        drain_s=60.0,
        admin=AdminSettings(listen=Address("127.0.0.1", 8789)),
        limits=LimitSettings(
            body_bytes=10 * 1024**2,
            body_timeout_s=30.0,
            header_bytes=64 * 1024,
            answer_bytes=64 * 1024**2,
            stream_buffer_bytes=1024**2,
            finish_after_hangup_s=120.0,
        ),
        providers={},
    )


def test_a_provider_has_careful_defaults(file: Path) -> None:
    one = load(file, provider("")).providers["p"]
    assert one.api_key is None
    assert one.environments is None
    assert not one.abort_stops_billing
    assert one.tail_tokens is None
    assert one.bills_errors
    assert one.output_limit_field == "max_completion_tokens"
    assert not one.private_network
    assert (one.connect_timeout_s, one.first_byte_timeout_s) == (10.0, 600.0)
    assert (one.idle_timeout_s, one.total_timeout_s) == (120.0, 1800.0)


def test_paths_start_at_the_file_and_not_where_one_stands(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('state = "a/b"\nregistry = "/etc/registry.toml"\n' + provider('api_key = "file:keys/p"'))
    monkeypatch.chdir(file.parent.parent)
    found = load_settings(Path(file.parent.name) / file.name)
    assert found.state == file.parent / "a" / "b"
    assert found.registry == Path("/etc/registry.toml")
    assert found.providers["p"].api_key == KeySource("file", str(file.parent / "keys" / "p"))


def test_the_admin_plane_may_share_the_port(file: Path) -> None:
    found = load(file, 'listen = "127.0.0.1:1"\n[admin]\nlisten = "127.0.0.1:1"')
    assert found.admin.listen == found.listen


@pytest.mark.parametrize(
    ("written", "read", "shown"),
    [
        ("127.0.0.1:8787", Address("127.0.0.1", 8787), "127.0.0.1:8787"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        ("[::1]:65535", Address("::1", 65535), "[::1]:65535"),
        ("[0:0:0:0:0:0:0:1]:1", Address("::1", 1), "[::1]:1"),
    ],
)
def test_an_address(file: Path, written: str, read: Address, shown: str) -> None:
    found = load(file, f'listen = "{written}"').listen
    assert (found, str(found), found.loopback) == (read, shown, True)


@pytest.mark.parametrize("listen", ["0.0.0.0:8787", "[::]:8787", "192.168.1.5:8787", "[2001:4860::1]:1"])
def test_listening_beyond_this_machine_must_be_meant(file: Path, listen: str) -> None:
    (line,) = problems(file, f'listen = "{listen}"')
    assert line.startswith("listen: ")
    assert 'tls = "terminated"' in line
    (line,) = problems(file, f'[admin]\nlisten = "{listen}"')
    assert line.startswith("admin.listen: ")
    assert not load(file, f'listen = "{listen}"\ntls = "terminated"').listen.loopback


@pytest.mark.parametrize("listen", ["127.0.0.1:8787", "0.0.0.0:8787"])
def test_behind_a_proxy_the_admin_plane_has_an_address_of_its_own(file: Path, listen: str) -> None:
    """What the proxy hands on to us comes from this machine: it must not reach the bootstrap credential's plane."""
    shared = f'listen = "{listen}"\ntls = "terminated"\n[admin]\nlisten = "{listen}"'
    found = problems(file, shared)
    assert any(line.startswith("admin.listen: What stands in front") for line in found)
    apart = shared.replace(f'[admin]\nlisten = "{listen}"', '[admin]\nlisten = "127.0.0.1:8786"')
    assert load(file, apart).tls == "terminated"
    assert load(file, 'listen = "127.0.0.1:8787"\n[admin]\nlisten = "127.0.0.1:8787"').tls is None


def test_what_stands_before_the_data_plane_says_nothing_of_the_admin_plane(file: Path) -> None:
    """A balancer in front of the agents' port is not in front of the operators'."""
    both = 'listen = "0.0.0.0:8787"\n{}\n[admin]\nlisten = "0.0.0.0:8789"\n{}'
    for data in ('tls = "terminated"', PAIR):
        (line,) = problems(file, both.format(data, ""))
        assert line.startswith("admin.listen: 0.0.0.0:8789 is reachable from other machines, without TLS.")
        assert "admin.tls_cert" in line
        assert '[admin] tls = "terminated"' in line
        assert load(file, both.format(data, PAIR)).admin.tls is None
        assert load(file, both.format(data, 'tls = "terminated"')).admin.tls == "terminated"
    (line,) = problems(file, both.format("", 'tls = "terminated"'))
    assert line.startswith("listen: "), "nor the other way round"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("https://api.openai.com", "https://api.openai.com:443"),
        ("https://api.openai.com/", "https://api.openai.com:443"),
        ("https://api.openai.com/v1", "https://api.openai.com:443"),
        ("https://api.openai.com/v1/", "https://api.openai.com:443"),
        ("HTTPS://API.OpenAI.com/v1", "https://api.openai.com:443"),
        ("https://host.example/openai", "https://host.example:443/openai"),
        ("https://host.example/openai/v1", "https://host.example:443/openai"),
        ("https://host.example/openai/v1//", None),
        ("https://host.example/v1/v1", "https://host.example:443/v1"),
        ("https://host.example/v10", "https://host.example:443/v10"),
        ("https://host.example/my-v1", "https://host.example:443/my-v1"),
        ("https://host.example:8443/a/b", "https://host.example:8443/a/b"),
        ("https://host.example./v1", "https://host.example:443"),
        ("http://127.0.0.1:8788", "http://127.0.0.1:8788"),
        ("http://localhost", "http://localhost:80"),
        ("http://[::1]:11434/v1", "http://[::1]:11434"),
        ("http://10.1.2.3:8000/v1", "http://10.1.2.3:8000"),
        ("http://host.example", None),  # a key in the clear, perhaps over the internet
        ("http://8.8.8.8", None),
        ("ftp://host.example", None),
        ("host.example/v1", None),
        ("//host.example", None),
        ("https://", None),
        ("https:///v1", None),
        ("https://host.example:99999", None),
        ("https://host.example:x", None),
        ("https://us er.example", None),
        ("https://user:hunter2@host.example", None),
        ("https://host.example/v1?key=hunter2", None),
        ("https://host.example/v1#hunter2", None),
        ("https://host.example/a/../b", None),
        ("https://host.example//v1", None),
        ("https://host.example\\\\@evil.example", None),
        ("https://h\u00f6st.example", None),
        ("https://[::1", None),
        ("https://[::g]", None),
        ("https://-host.example", None),
        ("https://host.example/\\u0000", None),
        ("https://host.example/\\n", None),
        ("", None),
    ],
)
def test_a_base_url_never_doubles_v1(file: Path, written: str, shown: str | None) -> None:
    text = provider(f'base_url = "{written}"')
    if shown is not None:
        assert str(load(file, text).providers["p"].base_url) == shown
        return
    (line,) = problems(file, text)
    assert line.startswith("providers.p.base_url: ")
    assert "hunter2" not in line


def test_plain_http_into_a_private_network_must_be_meant(file: Path) -> None:
    text = provider('base_url = "http://vllm.internal:8000/v1"')
    (line,) = problems(file, text)
    assert "private_network = true" in line
    assert load(file, f"{text}\nprivate_network = true").providers["p"].private_network


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "[::]", "203.0.113.9"])
def test_beyond_this_machine_a_certificate_does_too(file: Path, host: str) -> None:
    """Each plane its own."""
    bare = f'listen = "{host}:1"\n[admin]\nlisten = "{host}:2"'
    data, admin = problems(file, bare)
    assert data.startswith("listen: ")
    assert admin.startswith("admin.listen: ")
    assert "Name tls_cert and tls_key" in data
    assert "Name admin.tls_cert and admin.tls_key" in admin
    (admin,) = problems(file, f"{PAIR}\n{bare}")
    assert admin.startswith("admin.listen: ")
    both = load(file, f"{PAIR}\n{bare}\n{PAIR}")
    assert (both.url, both.admin_url) == (f"https://{host}:1", f"https://{host}:2")
    assert (both.tls_cert, both.admin.tls_key) == (file.parent / "p", file.parent / "q")
    shared = load(file, f'{PAIR}\nlisten = "{host}:1"\n[admin]\nlisten = "{host}:1"')
    assert (shared.shared, shared.admin_cert, shared.admin_url) == (True, file.parent / "p", f"https://{host}:1")


def test_a_proxy_in_front_of_a_shared_port_would_lead_to_the_admin_plane(file: Path) -> None:
    text = 'trusted_proxies = ["127.0.0.1"]\nlisten = "127.0.0.1:1"\n[admin]\nlisten = "127.0.0.1:{}"'
    (line,) = problems(file, text.format(1))
    assert line.startswith("admin.listen: ")
    assert "as if it were this machine" in line
    assert load(file, text.format(2)).trusted_proxies == (ip_network("127.0.0.1/32"),)


def test_half_a_pair_is_said_beside_all_other_faults(file: Path) -> None:
    """Else whoever mends the others finds it only at the next start."""
    found = problems(file, 'tls_cert = "p"\nlistn = 1\ndrain_s = -1\n[admin]\ntls_key = "q"\nport = 1')
    wrong = {line.partition(":")[0] for line in found}
    assert wrong == {"listn", "drain_s", "admin.port", "tls_key", "admin.tls_cert"}


PAIR = 'tls_cert = "p"\ntls_key = "q"'

PROBLEMS = [
    ("listn = 1", "listn: ", "Did you mean 'listen'?"),
    ('tls_cert = "p"', "tls_key: ", "missing, and tls_cert is nothing without it"),
    ('tls_key = "p"', "tls_cert: ", "missing, and tls_key is nothing without it"),
    ('[admin]\ntls_cert = "p"', "admin.tls_key: ", "missing, and tls_cert is nothing without it"),
    ("tls_cert = 1\ntls_key = 'p'", "tls_cert: ", "text in quotes"),
    ('tls = "terminated"\ntls_cert = "p"\ntls_key = "q"', "tls: ", "in front of the gateway or in it"),
    ('listen = "127.0.0.1:1"\n[admin]\nlisten = "127.0.0.1:1"\n' + PAIR, "admin.tls_cert: ", "share one port"),
    ('[admin]\ntls = "terminated"\n' + PAIR, "admin.tls: ", "in front of the admin plane or in it"),
    ('[admin]\ntls = "on"', "admin.tls: ", "'terminated'"),
    (
        'listen = "127.0.0.1:1"\n[admin]\nlisten = "127.0.0.1:1"\ntls = "terminated"',
        "admin.listen: ",
        "as if it were this machine",
    ),
    ('trusted_proxies = "10.0.0.1"', "trusted_proxies: ", "must be a list"),
    ("trusted_proxies = [1]", "trusted_proxies: ", "text in quotes"),
    ('trusted_proxies = ["10.0.0.1", "proxy"]', "trusted_proxies: ", "'proxy' is neither an address nor a range"),
    ('trusted_proxies = ["10.0.0.1/8"]', "trusted_proxies: ", "has host bits set"),
    ('trusted_proxies = ["10.0.0.0/33"]', "trusted_proxies: ", "neither an address nor a range"),
    ('tls = "off"', "tls: ", "'terminated'"),
    ("listen = 8787", "listen: ", "text in quotes"),
    ('listen = "8787"', "listen: ", "HOST:PORT"),
    ('listen = ":8787"', "listen: ", "not an IP address"),
    ('listen = "::1:8787"', "listen: ", "brackets"),
    ('listen = "example.com:80"', "listen: ", "not an IP address or localhost"),
    ('listen = "127.0.0.1:65536"', "listen: ", "port"),
    ('listen = "127.0.0.1:-1"', "listen: ", "port"),
    ('listen = "127.0.0.1:\u0661"', "listen: ", "port"),
    ('store = "postgresql://x"', "store: ", "not supported yet"),
    ("state = 1", "state: ", "text in quotes"),
    ('state = ""', "state: ", "not a path"),
    ('durability = "disk"', "durability: ", "one of 'power', 'process'"),
    ('drain_s = "60"', "drain_s: ", "Expected `float`"),
    ("drain_s = -1", "drain_s: ", ">= 0"),
    ("drain_s = nan", "drain_s: ", "Expected `float`"),
    ("drain_s = inf", "drain_s: ", "<= 86400"),
    ("drain_s = true", "drain_s: ", "Expected `float`"),
    ("admin = 1", "admin: ", "table"),
    ("[admin]\nport = 1", "admin.port: ", "no such setting"),
    ("[limits]\nbody_bytes = 10.5", "limits.body_bytes: ", "Expected `int`"),
    ("[limits]\nbody_bytes = 0", "limits.body_bytes: ", ">= 1024"),
    ("[limits]\nbody_byte = 0", "limits.body_byte: ", "Did you mean 'body_bytes'?"),
    ("[limits]\nbody_timeout_s = 0", "limits.body_timeout_s: ", "> 0"),
    ("providers = []", "providers: ", "[providers.NAME]"),
    ('[providers."a b"]\ndialects = ["openai"]\nbase_url = "https://h"', 'providers."a b": ', "not a name"),
    ("[providers]\np = 1", "providers.p: ", "table"),
    ('[providers.p]\nbase_url = "https://h.example"', "providers.p.dialects: ", "mandatory"),
    ('[providers.p]\ndialects = ["openai"]', "providers.p.base_url: ", "mandatory"),
    (provider("dialects = []"), "providers.p.dialects: ", "list with some of 'openai', 'anthropic'"),
    (provider('dialects = ["grpc"]'), "providers.p.dialects: ", "list with some of"),
    (provider('dialects = "openai"'), "providers.p.dialects: ", "list with some of"),
    (provider('environments = ["prod"]'), "providers.p.environments: ", "list with some of 'production'"),
    (provider("environments = []"), "providers.p.environments: ", "list with some of"),
    (provider("abort_stops_billing = true"), "providers.p.tail_tokens: ", "mandatory"),
    (provider('api_key_header = "Host"'), "providers.p.api_key_header: ", "the gateway's own"),
    (provider('api_key_header = "a b"'), "providers.p.api_key_header: ", "regex"),
    (provider('version_path = "v1"'), "providers.p.version_path: ", "regex"),
    (provider('azure_api_version = "a/b"'), "providers.p.azure_api_version: ", "regex"),
    (provider('omit_fields = ["user", "max_tokens"]'), "providers.p.omit_fields: ", "'max_tokens' is what an answer"),
    (provider("tail_tokens = -1"), "providers.p.tail_tokens: ", ">= 0"),
    (provider('output_limit_field = "max"'), "providers.p.output_limit_field: ", "one of 'max_completion_tokens'"),
    (provider("idle_timeout_s = 0"), "providers.p.idle_timeout_s: ", "> 0"),
    (provider("idle_timeout = 5"), "providers.p.idle_timeout: ", "Did you mean 'idle_timeout_s'?"),
    (provider(f'api_key = "{SECRET}"'), "providers.p.api_key: ", "env:NAME"),
    (provider(f'api_key = "key:{SECRET}"'), "providers.p.api_key: ", "env:NAME"),
    (provider(f'api_key = "env:sk-{SECRET}"'), "providers.p.api_key: ", "not the name of a variable"),
    (provider('api_key = "env:"'), "providers.p.api_key: ", "not the name of a variable"),
    (provider('api_key = "file:"'), "providers.p.api_key: ", "env:NAME"),
    (provider(f'apikey = "{SECRET}"'), "providers.p.apikey: ", "Did you mean 'api_key'?"),
    (provider(f'output_limit_field = "{SECRET}"'), "providers.p.output_limit_field: ", "one of"),
    (provider(f'tail_tokens = "{SECRET}"'), "providers.p.tail_tokens: ", "Expected `int"),
    ("listen", "file: ", "not TOML"),
    ("listen = 1\nlisten = 2", "file: ", "not TOML"),
    ("a = " + "[" * 5000, "file: ", "not TOML"),
]


@pytest.mark.parametrize(("text", "where", "words"), PROBLEMS)
def test_what_is_wrong_is_said_where_it_stands(file: Path, text: str, where: str, words: str) -> None:
    lines = problems(file, text)
    assert len(lines) == 1, lines
    assert lines[0].startswith(where), lines
    assert words in lines[0]
    assert SECRET not in lines[0]


def test_every_problem_is_said_at_once(file: Path) -> None:
    lines = problems(
        file, 'listn = 1\nstore = "x"\n[limits]\nbody_bytes = 0\n[providers.p]\n[providers.q]\ndialects = 1'
    )
    assert [line.partition(":")[0] for line in lines] == [
        "listn",
        "store",
        "limits.body_bytes",
        "providers.p.dialects",
        "providers.p.base_url",
        "providers.q.dialects",
        "providers.q.base_url",
    ]


def test_a_file_that_is_not_there_or_not_text(file: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load_settings(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(file.parent)


VALUES = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(("true", "nan", "inf", "-inf", "1e400", "[]", "{}", "[[]]", "2026-01-01", "12:00:00", '""')),
    st.text(st.characters(codec="ascii", exclude_characters="'\n\r", categories=["L", "N", "P", "S"]), max_size=12).map(
        lambda text: f"'{text}'"
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    key=st.sampled_from(("listen", "state", "drain_s", "providers", "limits", "store", "tls", "admin", "x")),
    value=VALUES,
    inner=st.sampled_from(("dialects", "base_url", "api_key", "environments", "tail_tokens", "idle_timeout_s", "x")),
    inner_value=VALUES,
)
def test_junk_is_a_problem_and_never_a_crash(file: Path, key: str, value: str, inner: str, inner_value: str) -> None:
    for text in (f"{key} = {value}", provider(f"{inner} = {inner_value}")):
        with contextlib.suppress(SettingsError):
            load(file, text)
