"""The recipes of docs/clients.md: what a person would type, and what is said of it for the run."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "clients.md"

_RECIPE = re.compile(r"<!-- recipe: (?P<facts>[^>]*?) -->\n\n?```sh\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """One block of the page. `shows` is False where a client is known to keep our text of a refusal from its user."""

    name: str
    version: str  # where it is found: `npm:PACKAGE` or `pip:VENV:PACKAGE`
    surface: str  # the dialect that its calls are recorded under
    script: str  # for bash, in a home of its own
    most_refused: int  # so many calls, and no more, does it make that are refused
    shows: bool = True


def read_recipes(page: Path = PAGE) -> list[Recipe]:
    """Every recipe of the page, in its order. Raises KeyError or ValueError where one does not say what it must."""
    return [_recipe(found["facts"], found["script"]) for found in _RECIPE.finditer(page.read_text(encoding="utf-8"))]


def _recipe(facts: str, script: str) -> Recipe:
    said = dict(fact.split("=", 1) for fact in facts.split())
    return Recipe(
        said["name"], said["version"], said["surface"], script, int(said["refused"]), said.get("shows", "yes") == "yes"
    )
