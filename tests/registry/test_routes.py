"""[aliases], [classes], [task_types] and [[routes]]: from the file to the routing that calls meet."""

import tomllib
from typing import Any

import pytest

from comptroller.core.registry.document import read_document
from comptroller.core.registry.entries import Document
from comptroller.core.routing.route import Conditions, Route
from comptroller.core.routing.routing import Routing
from tests.registry.documents import EXAMPLE, read
from tests.registry.test_build import built

ROUTES = """
[models.tiny]
providers = ["sandbox"]
class = "small"

[models.middle]
providers = ["sandbox"]
class = "standard"

[aliases]
fast = "small"
best = "sandbox-large"

[classes]
order = ["small", "standard", "frontier"]

[task_types.classification]
floor = "small"

[task_types.legal-review]
floor = "frontier"

[[routes]]
name = "simple-work"
scope = { task_type = ["classification", "extraction"] }
from = ["frontier", "middle"]
to = "small"
when = { budget_below = "20%", input_tokens_over = 0, input_tokens_under = 8_000 }

[[routes]]
name = "everything-else"
scope = { organization = "acme" }
to = "fast"
mode = "shadow"
"""


def document(more: str = ROUTES) -> dict[str, Any]:
    return tomllib.loads(EXAMPLE + more)


def test_a_file_becomes_the_routing_that_it_says() -> None:
    assert built(document()).routing == Routing(
        aliases={"fast": "small", "best": "sandbox-large"},
        order=("small", "standard", "frontier"),
        floors={"classification": "small", "legal-review": "frontier"},
        routes=(
            Route(
                "simple-work",
                "small",
                {"task_type": ("classification", "extraction")},
                ("frontier", "middle"),
                Conditions(2_000, 0, 8_000),
            ),
            Route("everything-else", "fast", {"organization": ("acme",)}, None, Conditions(), "shadow"),
        ),
    )


def test_without_these_sections_every_call_goes_where_it_asks() -> None:
    assert built(tomllib.loads(EXAMPLE)).routing == Routing()


def test_routes_keep_the_order_of_the_file_however_they_are_called() -> None:
    raw = document()
    raw["routes"].reverse()
    assert [route.name for route in built(raw).routing.routes] == ["everything-else", "simple-work"]
    assert [route.name for route in built(document(), raw).routing.routes] == ["everything-else", "simple-work"]


def test_what_leaves_the_file_leaves_force() -> None:
    assert built(document(), tomllib.loads(EXAMPLE)).routing == Routing()


def test_a_class_without_a_rank_is_warned_about_where_there_are_floors() -> None:
    raw = document()
    raw["classes"]["order"].remove("standard")
    assert [each.line for each in read(raw).warnings if each.where == "classes.order"] == [
        "classes.order: The class 'standard' has no rank in it: it is below every floor."
    ]


def test_a_route_that_nobody_can_be_in_yet_is_warned_about() -> None:
    raw = document()
    raw["routes"][0]["scope"] = {"kind": "tool"}
    assert "No identity is in the scope of this route yet." in [
        each.sentence for each in read(raw).warnings if each.where == "routes.simple-work"
    ]


ROUTE = '[[routes]]\nname = "r"\nscope = { team = "search" }\n'
FLOOR = '[task_types.x]\nfloor = "frontier"\n'
PROBLEMS = [
    ("aliases = 3", "aliases", "must be a table of names, not a whole number"),
    ('[aliases]\n"f*" = "frontier"', 'aliases."f*"', "is a pattern"),
    ('[aliases]\nfast = "small"', "aliases.fast", "There is no model and no class 'small'"),
    ('[aliases]\nfast = "f*"', "aliases.fast", "is a pattern"),
    ('[aliases]\nfast = "frontier"', "aliases.fast", "has only patterns"),
    ('[aliases]\nfrontier = "sandbox-large"', "aliases.frontier", "is the name of a class already"),
    ('[classes]\norder = ["frontier", "frontier"]', "classes.order", "named twice"),
    ('[classes]\norder = ["small"]', "classes.order", "No model is of the class 'small'"),
    (FLOOR, "task_types.x.floor", "classes have none yet"),
    ('[classes]\norder = ["frontier"]\n[task_types.x]\nfloor = "small"', "task_types.x.floor", "has no rank"),
    (ROUTE, "routes.r.to", "mandatory"),
    (ROUTE + 'to = "nothing"', "routes.r.to", "There is no model and no class 'nothing'"),
    (ROUTE + 'to = "sandbox-*"', "routes.r.to", "is a pattern"),
    (ROUTE + 'to = "sandbox-large"\nfrom = ["sandbox-*"]', "routes.r.from", "There is no model and no class"),
    (ROUTE + 'to = "sandbox-large"\nfrom = ["sandbox-large"]', "routes.r.to", "it would lead nowhere"),
    (ROUTE + 'to = "sandbox-large"\nwhen = {}', "routes.r.when", "nothing in them"),
    (ROUTE + 'to = "sandbox-large"\nwhen = { budget_below = "0%" }', "routes.r.when", "not a share"),
    (ROUTE + 'to = "sandbox-large"\nwhen = { budget_belw = "5%" }', "routes.r.when", "Did you mean 'budget_below'?"),
    (
        ROUTE + 'to = "sandbox-large"\nwhen = { input_tokens_over = 5, input_tokens_under = 6 }',
        "routes.r.when",
        "No input is over 5 and under 6 tokens",
    ),
    (ROUTE + 'to = "sandbox-large"\nmode = "soft"', "routes.r.mode", "not one of hard, shadow"),
    (ROUTE.replace("team", "teem") + 'to = "sandbox-large"', "routes.r.scope.teem", "Did you mean 'team'?"),
    (ROUTE.replace("search", "serch") + 'to = "sandbox-large"', "routes.r.scope.team", "There is no team 'serch'"),
    ('[[routes]]\nname = "r"\nscope = {}\nto = "sandbox-large"', "routes.r.scope", "nothing in it"),
    (2 * (ROUTE + 'to = "sandbox-large"\n'), "routes.r", "stands in the file twice"),
]


@pytest.mark.parametrize(("more", "where", "words"), PROBLEMS)
def test_a_fault_is_said_at_its_place(more: str, where: str, words: str) -> None:
    text = f"{more}\n{EXAMPLE}" if more.startswith("aliases =") else f"{EXAMPLE}\n{more}"
    problems = read_document(tomllib.loads(text))
    assert not isinstance(problems, Document)
    assert any(each.where == where and words in each.line for each in problems), [each.line for each in problems]
