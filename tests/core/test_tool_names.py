"""A function that a model is offered stands for a tool of a server, if its name says so."""

import pytest

from comptroller.core.tool.names import ToolNames, names_tool

KNOWN = ToolNames(
    ["files", "my.docs", "file"],
    ["files/read_text_file", "files/write file", "my.docs/search", "files/search", "file/s_read", "files/read"],
)


@pytest.mark.parametrize(
    ("function", "tool"),
    [
        ("mcp__files__read_text_file", "files/read_text_file"),
        ("files__read_text_file", "files/read_text_file"),
        ("files_read_text_file", "files/read_text_file"),
        ("files-read_text_file", "files/read_text_file"),
        ("files.read_text_file", "files/read_text_file"),
        ("files/read_text_file", "files/read_text_file"),
        ("read_text_file", "files/read_text_file"),
        ("mcp__files__write_file", "files/write file"),  # functions have no spaces
        ("mcp__my_docs__search", "my.docs/search"),  # nor dots
        ("mcp__files__never_seen", "files/never_seen"),  # that it is of this server is plain
        ("files__never_seen", "files/never_seen"),
        ("mcp__my_docs__never_seen", "my.docs/never_seen"),
        ("search", None),  # two servers have one
        ("files_never_seen", None),  # it may be anything
        ("mcp__other__read_text_file", None),
        ("mcp__files__", None),
        ("get_weather", None),
        ("", None),
    ],
)
def test_what_a_function_stands_for(function: str, tool: str | None) -> None:
    assert KNOWN.tool(function) == tool


def test_a_name_that_two_tools_could_have_is_neither() -> None:
    assert ToolNames(["a", "a_b"], ["a/b_c", "a_b/c"]).tool("a_b_c") is None


@pytest.mark.parametrize(
    ("function", "tool", "is_it"),
    [
        ("mcp__files__read", "files/read", True),
        ("read", "files/read", True),
        ("x-read", "files/read", True),
        ("thread", "files/read", False),
        ("read", "files/write", False),
        ("mcp__s__a_b", "s/a b", True),
        ("", "files/read", False),
        ("files/", "files/", False),
    ],
)
def test_a_call_of_a_model_may_be_that_of_a_tool(function: str, tool: str, is_it: bool) -> None:
    assert names_tool(function, tool) == is_it
