"""Rules for the arguments of tools: for whom they are, and what is said to whoever breaks one."""

import pytest

from comptroller.core.budget.scope import Facts
from comptroller.core.tool.arguments import ArgumentRule, ArgumentRules, check_arguments

UNDER_DOCS = '{"properties":{"path":{"under":["/srv/docs"]}},"required":["path"]}'
SMALL = '{"properties":{"limit":{"maximum":10}}}'
SCOUT = {"identity": "agent/scout", "team": "search", "session": "s2", "task_type": "answer"}
PLANNER = {"identity": "agent/planner", "team": "search", "session": "s1"}
RULES = ArgumentRules(
    [
        ArgumentRule("docs", {"identity": ("agent/scout",)}, ("files/read_*", "files/list"), UNDER_DOCS),
        ArgumentRule("small", {"team": ("search", "support")}, ("*",), SMALL),
        ArgumentRule(
            "planned", {"identity": ("agent/planner",), "task_type": ("plan",)}, ("files/*",), '{"maxProperties":0}'
        ),
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("chain", "tool", "arguments", "rule"),
    [
        ((SCOUT,), "files/read_file", b'{"path":"/srv/docs/a"}', None),
        ((SCOUT,), "files/read_file", b'{"path":"/etc/passwd"}', "docs"),
        ((SCOUT,), "files/read_file", b'{"path":"/srv/docs/a","limit":11}', "small"),
        ((SCOUT,), "files/write_file", b'{"path":"/etc/passwd"}', None),
        ((PLANNER,), "files/read_file", b'{"path":"/etc/passwd"}', None),
        ((SCOUT, PLANNER), "files/read_file", b'{"path":"/etc/passwd"}', "docs"),
        ((PLANNER, SCOUT), "files/read_file", b'{"path":"/etc/passwd"}', "docs"),  # who acts for it is bound, too
        (({**PLANNER, "task_type": "plan"},), "files/write", b'{"a":1}', "planned"),
        ((PLANNER, {**SCOUT, "task_type": "plan"}), "files/write", b'{"a":1}', None),  # all of it at one node
        ((SCOUT,), "files/read_file", b"[1]", "docs"),
        ((SCOUT,), "files/read_file", b'{"path":"/srv/docs/a"', "docs"),
        ((SCOUT,), "files/read_file", b'{"path":1e999}', "docs"),
        ((SCOUT,), "files/read_file", b"[" * 100_000, "docs"),
        (({"team": "other"},), "files/read_file", b"nothing", None),
    ],
)
def test_every_rule_in_whose_scope_a_call_is_must_be_met(
    chain: tuple[dict[str, str], ...], tool: str, arguments: bytes, rule: str | None
) -> None:
    refusal = check_arguments(RULES, Facts(chain, {}), tool, arguments)  # type: ignore[arg-type]
    if rule is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.code, refusal.param) == ("arguments_forbidden", "arguments")
        assert f"The rule {rule!r} does not allow these arguments of {tool}: " in refusal.sentence


def test_where_there_is_no_rule_nothing_is_read() -> None:
    assert not ArgumentRules()
    assert check_arguments(ArgumentRules(), Facts((SCOUT,), {}), "files/read_file", b"nothing") is None  # type: ignore[dict-item]
