"""The doctor finds what is planted, says what to do, changes nothing and tells no secret."""

import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk

from comptroller.core.instant import format_instant
from comptroller.doctor import clock, disk, machine
from comptroller.store.lock import Holder
from tests.cli.world import BUDGETS, MEMBERS, Typed, chat
from tests.harness.authority import Authority, Files
from tests.harness.configuration import KEY_VARIABLE, budget, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

DATABASE = "comptroller.db"
DAY_NS = 86_400 * 10**9
Found = dict[str, tuple[str, str, str]]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that served a call, and stopped."""
    folder = tmp_path_factory.mktemp("gateway")
    with GatewayProcess(folder, process(sandbox.url), registry(BUDGETS, MEMBERS)) as running:
        assert chat(running, running.token("agent/ant"))[0] == 200
        assert running.sigterm() == 0
        yield running


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capsys)


@pytest.fixture
def patient(gateway: GatewayProcess, tmp_path: Path) -> Path:
    """A copy of all its files, to be made ill."""
    shutil.copytree(gateway.folder, tmp_path / "patient")
    return tmp_path / "patient"


def examine(typed: Typed, folder: Path, **env: str) -> tuple[int, Found]:
    """The exit code, and each check's state, sentence and hint."""
    env = {KEY_VARIABLE: PROVIDER_KEY} | env
    done = typed("doctor", "--json", "--config", str(folder / "comptroller.toml"), **env)
    assert "Traceback" not in done.stderr
    rows = json.loads(done.stdout)
    assert len({row["name"] for row in rows}) == len(rows)
    assert all(bool(row["hint"]) == (row["state"] != "ok") for row in rows), "what is not well has a way on"
    return done.returncode, {row["name"]: (row["state"], row["sentence"], row["hint"]) for row in rows}


def ill(found: Found) -> dict[str, str]:
    """What is not as it should be. Room and syncs are those of the machine that runs the tests."""
    mine = ("disk.room", "disk.sync", "machine.files")
    return {name: state for name, (state, _, _) in found.items() if state != "ok" and name not in mine}


def snapshot(folder: Path) -> dict[str, Any]:
    """Every file with its content, mode and time."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in sorted(folder.rglob("*"))
    }


# Well.


def test_a_stopped_gateway_that_is_well(typed: Typed, patient: Path) -> None:
    before = snapshot(patient)
    code, found = examine(typed, patient)
    assert (code, ill(found)) == (0, {})
    assert found["store.holder"][1] == "No gateway runs on this store."
    assert "calls on record: 1" in found["store.epoch"][1]
    assert {name.partition(".")[0] for name in found} == {
        "settings", "store", "files", "clock", "disk", "credentials", "providers", "machine",
    }  # fmt: skip
    assert snapshot(patient) == before, "and it is as it was"


def test_whether_the_bootstrap_credential_opens_anything(typed: Typed, patient: Path) -> None:
    assert "opens everything on this machine" in examine(typed, patient)[1]["credentials.admin"][1]
    config = str(patient / "comptroller.toml")
    for name, role in (("olga", "operator"), ("ada", "admin")):
        assert typed("admins", "add", name, "--role", role, "--config", config).returncode == 0
        state, sentence, _ = examine(typed, patient)[1]["credentials.admin"]
        assert state == "ok"
        assert ("it opens nothing" in sentence) == (role == "admin")


def test_a_running_gateway_that_is_well(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        credential = gateway.token("agent/ant")
        assert chat(gateway, credential)[0] == 200
        before = sandbox.count()
        code, found = examine(typed, tmp_path)
        assert (code, ill(found)) == (0, {})
        assert f"process {gateway.pid} on" in found["store.holder"][1]
        assert found["store.gateway"][1] == "It answers, and is ready."
        assert "have kept together" in found["clock.jump"][1]
        assert "The gateway may have" in found["machine.files"][1]
        assert sandbox.count() == before, "and nothing was asked of the provider"
        without = gateway.command("doctor", check=False)
        secrets = (credential, PROVIDER_KEY, gateway.admin_token(), (gateway.state / "signing-keys.json").read_text())
        assert not [secret for secret in secrets if secret in without.stdout + without.stderr + str(found)]


def test_the_keys_of_issuers_are_looked_for(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    def issuer(url: str, keys: str) -> dict[str, str]:
        return {"kind": "oidc", "url": url, "audience": "us", "keys": keys}

    issuers = {
        "there": issuer("https://a.example", "file:keys.json"),
        "gone": issuer("https://b.example", "file:missing.json"),
        "down": issuer("http://127.0.0.1:9", "discovery"),
    }
    key = jwk.RSAKey.generate_key(2048, private=False).as_dict()
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [key | {"kid": "one"}, key | {"kid": "two"}]}))
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS, issuers=issuers)):
        code, found = examine(typed, tmp_path)
    assert (code, ill(found)) == (0, {"issuers.gone": "warn", "issuers.down": "warn"})
    assert found["issuers.there"][1] == "The keys of https://a.example can be had."
    assert "missing.json cannot be read" in found["issuers.gone"][1]


def test_for_people(typed: Typed, patient: Path) -> None:
    (patient / "state").chmod(0o750)
    done = typed("doctor", "--config", str(patient / "comptroller.toml"), **{KEY_VARIABLE: PROVIDER_KEY})
    lines = done.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if "disk.mode" in line]
    assert lines[at].startswith("warn  disk.mode ")
    assert lines[at + 1].strip().startswith("-> chmod 700")
    assert lines[-1].endswith("warnings.")
    assert done.returncode == 0


def test_before_the_first_start(typed: Typed, gateway: GatewayProcess, tmp_path: Path) -> None:
    for name in ("comptroller.toml", "registry.toml"):
        shutil.copyfile(gateway.folder / name, tmp_path / name)
    code, found = examine(typed, tmp_path)
    assert (code, ill(found)) == (0, {})
    assert "the first start makes it" in found["store.holder"][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["comptroller.toml", "registry.toml"]


# Ill.


def rewrite(name: str, old: str, new: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return plant


def in_the_database(sql: str) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "state" / DATABASE)) as connection:
            connection.execute(sql)
            connection.commit()

    return plant


def a_torn_page(folder: Path) -> None:
    """The first page of the calls."""
    database = folder / "state" / DATABASE
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'calls'").fetchone()
    content = bytearray(database.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    database.write_bytes(content)


def a_change_to_install(folder: Path) -> None:
    with (folder / "registry.toml").open("a") as file:
        file.write('\n[teams.green]\ncost_center = "CC-9"\n')


def a_bad_policy(folder: Path) -> None:
    (folder / "policies").mkdir()
    (folder / "policies" / "bad.cedar").write_text("permit (principal, action")


def an_old_key(folder: Path) -> None:
    path = folder / "state" / "signing-keys.json"
    keys = json.loads(path.read_text())
    keys["keys"][-1]["created_at_ns"] -= 91 * DAY_NS
    path.write_text(json.dumps(keys))


def a_restore_that_was_cut_off(folder: Path) -> None:
    (folder / "state" / ".restore").mkdir()


def a_key_that_all_can_read(folder: Path) -> None:
    (folder / "provider.key").write_text(PROVIDER_KEY)
    (folder / "provider.key").chmod(0o644)
    rewrite("comptroller.toml", f'"env:{KEY_VARIABLE}"', '"file:provider.key"')(folder)


def nobody_listens(folder: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (folder / "comptroller.toml").read_text()
    address = text.partition('base_url = "')[2].partition('"')[0]
    rewrite("comptroller.toml", address, f"http://127.0.0.1:{port}")(folder)


def metadata_service(folder: Path) -> None:
    text = (folder / "comptroller.toml").read_text()
    address = text.partition('base_url = "')[2].partition('"')[0]
    rewrite("comptroller.toml", address, "https://169.254.169.254")(folder)


def set_mode(name: str, mode: int) -> Callable[[Path], None]:
    return lambda folder: (folder / "state" / name).chmod(mode)


def a_store_that_was_replaced(folder: Path) -> None:
    """Three days ago."""
    kept = folder / "state" / "replaced-20261119T000000Z"
    kept.mkdir(mode=0o700)
    (kept / DATABASE).write_bytes(b"x" * 3 * 1_048_576)
    os.utime(kept, ns=(time.time_ns() - 3 * DAY_NS,) * 2)


def a_backup_before_a_migration(folder: Path) -> None:
    kept = folder / "state" / "backups" / "comptroller-20261119T000000Z"
    kept.mkdir(mode=0o700, parents=True)
    (kept / DATABASE).write_bytes(b"x" * 2 * 1_048_576)


@pytest.mark.parametrize(
    ("plant", "expected", "says"),
    [
        (a_store_that_was_replaced, {"store.kept": "warn"}, "replaced-20261119T000000Z (3.0 MiB, 3 days old)"),
        (a_backup_before_a_migration, {"store.kept": "warn"}, "backups/comptroller-20261119T000000Z (2.0 MiB, today)"),
        (rewrite("comptroller.toml", "drain_s", "drain"), {"settings": "fail"}, "There is no such setting"),
        (rewrite("registry.toml", "[organization]", "[organisation]"), {"files.registry": "fail"}, "organisation"),
        (lambda folder: (folder / "registry.toml").unlink(), {"files.registry": "warn"}, "There is no registry file"),
        (a_change_to_install, {"files.plan": "warn"}, "1 change is in the files and not in force"),
        (a_bad_policy, {"files.registry": "fail"}, "bad.cedar"),
        (a_torn_page, {"store.integrity": "fail"}, "The database is damaged"),
        (in_the_database("UPDATE alembic_version SET version_num = '9999'"), {"store.schema": "fail"},
         "9999 is unknown"),
        (in_the_database("UPDATE meta SET value = value + 400000000000 WHERE key = 'last_ns'"),
         {"clock.journal": "fail"}, "the books go until"),
        (in_the_database("UPDATE meta SET value = value + 60000000000 WHERE key = 'last_ns'"),
         {"clock.journal": "warn"}, "the books go until"),
        (in_the_database("INSERT INTO holds VALUES ('a', 'b', 1, x'00')"), {"store.holds": "warn"}, "1 call were"),
        (lambda folder: (folder / "state" / DATABASE).write_bytes(b"not a database" * 999), {"store.read": "fail"},
         "file is not a database"),
        (a_restore_that_was_cut_off, {"store.leftovers": "warn"}, "decided and cut off"),
        (set_mode("", 0o755), {"disk.mode": "fail"}, "others on this machine can reach"),
        (set_mode("", 0o750), {"disk.mode": "warn"}, "its group can reach it"),
        (set_mode(DATABASE, 0o644), {"disk.mode": "fail"}, DATABASE),
        (set_mode("admin-token", 0o644), {"disk.mode": "fail", "credentials.admin": "fail"}, "open to everyone"),
        (lambda folder: (folder / "state" / "signing-keys.json").write_text("{}"), {"credentials.signing_keys": "fail"},
         "does not hold signing keys"),
        (an_old_key, {"credentials.signing_keys": "warn"}, "The key that signs is 91 days old"),
        (rewrite("comptroller.toml", f"env:{KEY_VARIABLE}", "env:NOT_SET"), {"providers.sandbox.key": "warn"},
         "is not set (in this shell; the gateway has one of its own)"),
        (a_key_that_all_can_read, {"providers.sandbox.key": "warn"}, "readable by everyone"),
        (nobody_listens, {"providers.sandbox.address": "fail"}, "cannot be reached"),
        (metadata_service, {"providers.sandbox.address": "fail"}, "link-local"),
    ],
)  # fmt: skip
def test_what_is_planted_is_found(
    typed: Typed, patient: Path, plant: Callable[[Path], None], expected: dict[str, str], says: str
) -> None:
    plant(patient)
    before = snapshot(patient)
    code, found = examine(typed, patient)
    assert ill(found) == expected
    assert code == int("fail" in expected.values())
    assert any(says in found[name][1] for name in expected), [found[name] for name in expected]
    assert snapshot(patient) == before, "and it is as it was"
    assert PROVIDER_KEY not in str(found)


def test_what_is_kept_can_be_removed_as_it_says(typed: Typed, patient: Path) -> None:
    a_store_that_was_replaced(patient)
    a_backup_before_a_migration(patient)
    code, found = examine(typed, patient)
    state, sentence, hint = found["store.kept"]
    assert (code, state) == (0, "warn")
    assert "5.0 MiB" in sentence
    _, _, command = hint.partition("`")
    command, _, rest = command.partition("`")
    assert "comptroller backup" in rest, "and how to have a copy before"
    subprocess.run(command, shell=True, check=True)
    code, found = examine(typed, patient)
    assert found["store.kept"][0] == "ok"
    assert found["store.integrity"][0] == "ok"


# Certificates.


def days(count: float) -> timedelta:
    return timedelta(days=count)


def serve_with(folder: Path, files: Files, table: str = "") -> None:
    """The settings name this pair, for a plane."""
    pair = "".join(f"{name} = {json.dumps(value)}\n" for name, value in files.settings.items())
    path = folder / "comptroller.toml"
    path.write_text(pair + path.read_text() if not table else path.read_text().replace(table, f"{table}\n{pair}", 1))


@pytest.mark.parametrize(
    ("left", "state", "says"),
    [
        (days(90), "ok", "is good until"),
        (days(29.5), "warn", "for 29 days"),
        (days(6.5), "warn", "for 6 days"),
        (days(0.9), "warn", "for less than a day"),
        (days(-0.01), "fail", "ended"),
    ],
)
def test_a_certificate_that_ends(
    typed: Typed, patient: Path, tmp_path: Path, left: timedelta, state: str, says: str
) -> None:
    files = Authority(tmp_path).issue("gateway", "127.0.0.1", begins=days(-30), ends=left)
    files.key.chmod(0o600)
    serve_with(patient, files)
    code, found = examine(typed, patient)
    assert (code, found["tls.listen"][0]) == (int(state == "fail"), state)
    assert says in found["tls.listen"][1]
    assert ("today" in found["tls.listen"][2]) is ("less than a day" in says)


def another_key(files: Files, authority: Authority) -> None:
    files.key.write_bytes(authority.issue("other", "127.0.0.1").key.read_bytes())


@pytest.mark.parametrize(
    ("plant", "state", "says"),
    [
        (lambda files, authority: None, "ok", "is good until"),
        (another_key, "fail", "is not the key of the certificate"),
        (lambda files, authority: files.key.unlink(), "fail", "cannot be read: No such file"),
        (lambda files, authority: files.cert.write_text("nothing"), "fail", "holds no certificate"),
        (lambda files, authority: files.key.chmod(0o644), "warn", "everyone on this machine can read"),
    ],
)
def test_a_pair_that_cannot_be_served(
    typed: Typed, patient: Path, tmp_path: Path, plant: Callable[[Files, Authority], None], state: str, says: str
) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("admin", "127.0.0.1", ends=days(365))
    files.key.chmod(0o600)
    plant(files, authority)
    serve_with(patient, files, "[admin]")
    code, found = examine(typed, patient)
    assert (code, found["tls.admin.listen"][0]) == (int(state == "fail"), state)
    assert says in found["tls.admin.listen"][1]
    assert "tls.listen" not in found


def test_a_gateway_that_hangs_is_found(
    typed: Typed, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    monkeypatch.setattr(sys.modules["comptroller.cli.doctor"], "_ANSWER_S", 0.5)
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        gateway.signal(signal.SIGSTOP)
        try:
            code, found = examine(typed, tmp_path)
        finally:
            gateway.signal(signal.SIGCONT)
        assert (code, ill(found)) == (1, {"store.gateway": "fail"})
        assert "does not answer" in found["store.gateway"][1]


def test_a_gateway_that_cannot_fold_is_found(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A batch stands in the journal, and gets into no table."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry([budget("all", "9 USD")], MEMBERS)) as gateway:
        with closing(sqlite3.connect(gateway.state / DATABASE, isolation_level=None)) as connection:
            long_ago = time.time_ns() - 400 * 10**9
            connection.execute("INSERT INTO journal VALUES (5000, ?, 1, x'90')", (long_ago,))
        code, found = examine(typed, tmp_path)
        assert (code, ill(found)) == (1, {"store.unfolded": "fail"})
        assert "the oldest for 40" in found["store.unfolded"][1]


def test_a_running_gateway_says_itself_which_keys_it_has(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """This shell has none of them."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        found = shown(typed, gateway.config)
        assert found["providers.sandbox.key"] == ("ok", f"The gateway has it from environment variable {KEY_VARIABLE}.")
        rewrite("comptroller.toml", "[providers.sandbox]", "[providers.later]")(tmp_path)
        state, sentence = shown(typed, gateway.config)["providers.later.key"]
        assert (state, sentence) == ("warn", "The gateway was started before this provider was set up.")


def test_a_credential_of_ours_is_no_key(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Who follows the sample's lines has one in OPENAI_API_KEY; it is not for the provider to see."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        credential = gateway.token("agent/ant")
        gateway.sigterm()
        state, sentence = shown(typed, gateway.config, **{KEY_VARIABLE: credential})["providers.sandbox.key"]
        assert state == "warn"
        assert "holds a credential of Comptroller's own" in sentence
        assert credential not in sentence


def test_the_sample_is_well_in_a_shell_that_has_no_key(typed: Typed, tmp_path: Path) -> None:
    """Its real providers wait for keys: that nobody answers for them is no fault."""
    sample = Path(sys.modules["comptroller"].__path__[0]) / "sample"
    shutil.copytree(sample, tmp_path / "here")
    path = tmp_path / "here" / "comptroller.toml"
    path.write_text(re.sub(r'base_url = "https?://[^"]*"', 'base_url = "http://127.0.0.1:9"', path.read_text()))
    done = typed("doctor", "--json", "--config", str(path))
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert (done.returncode, [row for row in rows.values() if row["state"] == "fail"]) == (0, [])
    assert rows["providers.openai.address"]["hint"].startswith("Check base_url"), "what is missing is said once"


def shown(typed: Typed, config: Path, **env: str) -> dict[str, tuple[str, str]]:
    """State and sentence of each check, in a shell with these variables and no key beyond them."""
    done = typed("doctor", "--json", "--config", str(config), **env)
    return {row["name"]: (row["state"], row["sentence"]) for row in json.loads(done.stdout)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_somebody_else_is_told_to_be_the_gateways_user(typed: Typed, patient: Path) -> None:
    (patient / "state").chmod(0)
    try:
        code, found = examine(typed, patient)
    finally:
        (patient / "state").chmod(0o700)
    assert (code, found["store.holder"][0]) == (1, "fail")
    assert "as the user of the gateway" in found["store.holder"][2]


# Of the machine.


@pytest.mark.parametrize(
    ("leap_s", "state", "says"), [(0, "ok", "kept together"), (4000, "warn", "ahead"), (-4000, "warn", "back")]
)
def test_a_leap_of_the_clock_since_the_start(leap_s: int, state: str, says: str) -> None:
    """What the holder wrote down at its start, against the age that the kernel gives it."""
    born_s = time.time() - age_of(os.getpid())
    holder = Holder(os.getpid(), "here", format_instant(int((born_s - leap_s) * 1e9)), "127.0.0.1:1")
    (_, found) = clock.check_clock(time.time_ns(), 1, holder)
    assert (found.name, found.state) == ("clock.jump", state)
    assert says in found.sentence


def age_of(pid: int) -> float:
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def test_a_process_that_is_gone_has_no_leap() -> None:
    holder = Holder(2**22 + 1, "elsewhere", format_instant(time.time_ns()), "127.0.0.1:1")
    assert [check.name for check in clock.check_clock(time.time_ns(), 1, holder)] == ["clock.journal"]


@pytest.mark.parametrize(("free_mib", "state"), [(50, "fail"), (900, "warn"), (5000, "ok")])
def test_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, state: str) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free_mib * 1_048_576)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    tmp_path.chmod(0o700)
    checks = {check.name: check for check in disk.check_disk(tmp_path, 10_000_000, "power")}
    assert checks["disk.room"].state == state


@pytest.mark.parametrize(
    ("taken_s", "durability", "state"),
    [
        ([0.001, 0.001, 0.9], "power", "ok"),
        ([0.001, 0.03, 0.9], "power", "warn"),
        ([0.001, 0.03, 0.9], "process", "ok"),
    ],
)
def test_syncs(taken_s: list[float], durability: str, state: str) -> None:
    check = disk.judge_syncs(taken_s, durability)
    assert (check.state, "at worst 900.0" in check.sentence) == (state, True)


def test_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        check = next(iter(machine.check_machine(None)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (check.name, check.state, "1024 files" in check.sentence) == ("machine.files", "warn", True)
    assert "LimitNOFILE" in check.hint


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_FAST", ("uvloop", "not-installed-anywhere"))
    (_, check) = machine.check_machine(None)
    assert (check.state, "not-installed-anywhere cannot be found" in check.sentence) == ("fail", True)
