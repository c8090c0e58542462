"""docs/reference/registry.md: its example is right, and every field is in it."""

import re
import tomllib
from pathlib import Path

import pytest

from comptroller.core.budget.scope import ATTRIBUTES
from comptroller.core.registry import approval_roles, document, issuers, loops, routes, tool_entries, tool_prices
from comptroller.core.registry.fields import Field
from tests.registry.documents import read

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "registry.md").read_text(encoding="utf-8")
SECTIONS = {
    "`[organization]`": document._ORGANIZATION,
    "`[teams.NAME]`": document._TEAM,
    '`[owners."NAME"]`': document._OWNER,
    "`[issuers.NAME]`": issuers.ISSUER,
    '`[identities."KIND/NAME"]`': (*document._IDENTITY, Field(issuers.FEDERATED, str)),
    "`[bounds.KIND]`, `[profiles.NAME]`": document._BOUNDS,
    '`[models."PATTERN"]`': document._MODEL,
    '`[tools."SERVER/TOOL"]`': tool_entries.TOOL,
    "`[[arguments]]`": tool_entries.ARGUMENTS,
    "`[[prices]]`": (*document._PRICE, *tool_prices.TOOL_PRICE),
    "`[approvals.ROLE]`": approval_roles.APPROVAL,
    "`[[budgets]]`": document._BUDGET,
    "`[[rates]]`": document._RATE,
    "`[[contexts]]`": document._CONTEXT,
    "`[[retries]]`": document._RETRY,
    "`[classes]`": routes.CLASSES_FIELDS,
    "`[task_types.NAME]`": routes.TASK_TYPE,
    "`[[routes]]`": (*document._ROUTE, *routes._WHEN),
    "`[[loops]]`": loops.LOOP,
}


def test_its_example_is_right() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    assert read(tomllib.loads(example.group(1))).warnings == ()


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_is_described(heading: str) -> None:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    described = {
        name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert described == {field.name for field in SECTIONS[heading]}


def test_every_attribute_of_a_scope_is_described() -> None:
    section = PAGE.split("## `[[budgets]]`\n")[1]
    assert all(f"`{name}`" in section for name in ATTRIBUTES)
