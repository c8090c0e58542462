"""The page of recipes, as `make clients` reads it."""

import re

from tests.clients.recipes import PAGE, read_recipes

SURFACES = {"openai_chat", "openai_responses", "anthropic_messages", "gemini"}


def test_every_block_of_the_page_is_a_recipe() -> None:
    recipes = read_recipes()
    assert len(recipes) == PAGE.read_text(encoding="utf-8").count("```sh") == len({each.name for each in recipes})
    assert {each.surface for each in recipes} == SURFACES


def test_every_recipe_points_at_the_gateway_with_a_fresh_credential() -> None:
    for recipe in read_recipes():
        assert "http://127.0.0.1:8787" in recipe.script, recipe.name
        assert "comptroller token agent/coder" in recipe.script, recipe.name


def test_what_was_run_is_every_recipe() -> None:
    """The table on the page has a row for each."""
    run = re.findall(r"^\| ([a-z-]+) \| [0-9.]+ \| [a-z_]+ \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert run == [each.name for each in read_recipes()]
