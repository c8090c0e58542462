"""Dependencies are few, pinned, and each has its reason."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.architecture.house import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN = PROJECT["project"]["dependencies"]
BUILD = PROJECT["dependency-groups"]["build"]
EXTRAS = [one for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra]
DEV = [one for one in PROJECT["dependency-groups"]["dev"] if isinstance(one, str)]


def name_of(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def locked(lock: str) -> dict[str, str]:
    """name -> the lines that pin it."""
    text = re.sub(
        r"^\s*#.*\n|^--.*\n", "", (ROOT / "requirements" / lock).read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return {name_of(entry): entry for entry in re.split(r"\n(?=\S)", text.strip())}


@pytest.mark.parametrize("lock", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_every_package_is_pinned_by_hash(lock: str) -> None:
    loose = [name for name, entry in locked(lock).items() if "==" not in entry or "--hash=sha256:" not in entry]
    assert not loose, f"{lock} does not pin {loose}"
    assert "--only-binary :all:" in (ROOT / "requirements" / lock).read_text(encoding="utf-8"), (
        f"{lock} may run a stranger's build"
    )


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [("run.txt", RUN + BUILD), ("otel.txt", RUN + BUILD + EXTRAS), ("dev.txt", RUN + BUILD + EXTRAS + DEV)],
)
def test_the_lock_has_what_the_project_asks_for(lock: str, wanted: list[str]) -> None:
    missing = {name_of(one) for one in wanted} - locked(lock).keys()
    assert not missing, f"{lock} is older than pyproject.toml, run `make lock`: {missing}"


@pytest.mark.parametrize(("less", "more"), [("run.txt", "otel.txt"), ("otel.txt", "dev.txt")])
def test_the_locks_agree(less: str, more: str) -> None:
    few, many = locked(less), locked(more)
    assert {name for name in few if many.get(name, "").split()[:1] != few[name].split()[:1]} == set()


def test_every_dependency_has_its_reason() -> None:
    record = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text(encoding="utf-8")
    reasons = {name_of(one) for one in re.findall(r"^\| `([\w.-]+)` \|", record, re.MULTILINE)}
    wanted = {name_of(one) for one in RUN + BUILD + EXTRAS + DEV}
    assert reasons == wanted, f"no reason given: {wanted - reasons}; no longer a dependency: {reasons - wanted}"


def would_run(tree: Path, goal: str) -> str:
    done = subprocess.run(["make", "-n", goal], cwd=tree, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_new_dependency_can_be_locked_before_it_is_installed(tmp_path: Path) -> None:
    """Our own package asks for it, and the locks do not have it yet: installing the package has to wait for them."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    locking = would_run(tmp_path, "lock")
    assert "--require-hashes --no-deps -r requirements/dev.txt" in locking
    assert "uv pip compile pyproject.toml" in locking
    assert "-e ." not in locking
    assert "-e ." in would_run(tmp_path, "lint")
