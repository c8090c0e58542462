"""The page of MCP clients, as `make mcp` reads it."""

import re

from tests.mcp_peers.clients import PAGE, recipes
from tests.mcp_peers.conformance import SUITES


def test_every_block_of_the_page_is_a_recipe() -> None:
    assert len(recipes()) == PAGE.read_text(encoding="utf-8").count("```sh") == len({each.name for each in recipes()})


def test_every_recipe_points_at_a_server_of_the_gateway_with_a_fresh_credential() -> None:
    for recipe in recipes():
        assert "http://127.0.0.1:8787/mcp/files" in recipe.script, recipe.name
        assert "comptroller token agent/coder" in recipe.script, recipe.name


def test_what_was_run_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| ([a-z-]+) \| [0-9.]+ \| (?:modern|legacy) \|", page, re.MULTILINE) == [
        each.name for each in recipes()
    ]
    assert re.findall(r"^\| [0-9a-z.-]+ \([^)]*\) \| (\d+) \| (\d+) \|", page, re.MULTILINE) == [
        (str(suite.checks), str(suite.checks)) for suite in SUITES
    ]
