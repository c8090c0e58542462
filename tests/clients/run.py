"""One recipe, run twice: with enough money, and with next to none; and what both sides wrote down."""

import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tests.clients.installed import NotInstalled, version_of
from tests.clients.recipes import Recipe
from tests.clients.typed import type_in
from tests.clients.world import ENOUGH, TOO_LITTLE, world

OUR_WORDS = "budget all"  # of the refusal: our own text is before the user's eyes


@dataclass(frozen=True)
class Row:
    """What the table says of one client."""

    name: str
    version: str
    surface: str
    calls: int = 0  # in our books
    at_provider: int = 0
    charged: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    refused: int = 0
    seconds: float = 0.0
    hint: str = ""  # the client's own session marker, as recorded
    wrong: tuple[str, ...] = ()
    missing: str = ""  # why it was not run

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.wrong and not self.missing


def run_recipe(recipe: Recipe, keep: Path | None = None) -> Row:
    """Run it in both worlds."""
    try:
        version = version_of(recipe.version)
    except NotInstalled as reason:
        return Row(recipe.name, "", recipe.surface, missing=str(reason))
    with tempfile.TemporaryDirectory(prefix="comptroller-client-") as name:
        folder = Path(name) if keep is None else keep / recipe.name
        row = _served(recipe, version, folder / "served")
        return _refused(recipe, row, folder / "refused")


def _served(recipe: Recipe, version: str, folder: Path) -> Row:
    with world(folder / "gateway", ENOUGH) as here:
        ran = type_in(recipe, here.gateway, folder)
        billed = here.sandbox.settled(here.sandbox.count())
        calls = [call for call in here.called() if call["outcome"] != "refused"]
        counted = [line for line in billed if line["status"] == 200]
        row = Row(
            recipe.name,
            version,
            recipe.surface,
            calls=len(calls),
            at_provider=len(billed),
            charged=sum((Decimal(call["charge_usd"]) for call in calls), Decimal(0)),
            billed=Decimal(here.sandbox.total()["charge_usd"]),
            seconds=ran.seconds,
            hint=next((call["client_session"] for call in calls if call.get("client_session")), ""),
        )
        surfaces = {call["dialect"] for call in calls if call["outcome"] == "completed"}
        faults = {
            f"it ended with code {ran.code}: {ran.said[-600:]}": ran.code != 0,
            "no call was answered": not counted,
            f"it called {', '.join(sorted(surfaces))}": surfaces != {recipe.surface},
            "our books have other calls than the provider": row.calls != row.at_provider,
            "our books have other money than the bill": row.charged != row.billed,
            "a call was presumed": any(call["presumed"] for call in calls),
        }
        return _with(row, faults)


def _refused(recipe: Recipe, row: Row, folder: Path) -> Row:
    with world(folder / "gateway", TOO_LITTLE) as here:
        ran = type_in(recipe, here.gateway, folder)
        calls = here.called()
        faults = {
            "refused: it did not end in time": ran.code is None,
            "refused: a call reached the provider": here.sandbox.count() > 0,
            "refused: nothing was refused": not calls,
            f"refused: it called {len(calls)} times": len(calls) > recipe.most_refused,
            f"refused: its user does not see why: {ran.said[-600:]}": recipe.shows and OUR_WORDS not in ran.said,
        }
        return _with(row, faults, refused=len(calls))


def _with(row: Row, faults: dict[str, bool], **more: int) -> Row:
    wrong = (*row.wrong, *(words for words, is_so in faults.items() if is_so))
    return Row(**{**row.__dict__, **more, "wrong": wrong})
