"""Files stay small, and are named after what they are about."""

import ast
from pathlib import PurePosixPath

import pytest

from tests.architecture.house import SRC, modules, parse

LINES = 400
SAYS_NOTHING = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "manager",
    "managers",
    "shared",
    "base",
    "tools",
    "lib",
}


@pytest.mark.parametrize("module", modules())
def test_a_file_has_one_subject(module: str) -> None:
    lines = len((SRC / module).read_text(encoding="utf-8").splitlines())
    assert lines <= LINES, (
        f"{module} has {lines} lines; past {LINES} there is a second subject in it. Which? Give it a file of its own"
    )


@pytest.mark.parametrize("module", modules())
def test_a_name_says_what_is_in_it(module: str) -> None:
    words = {word for part in PurePosixPath(module).with_suffix("").parts for word in part.split("_")}
    assert not words & SAYS_NOTHING, (
        f"{module}: '{', '.join(words & SAYS_NOTHING)}' says nothing; name it after what it is about"
    )


@pytest.mark.parametrize("module", modules())
def test_cancellation_is_never_swallowed(module: str) -> None:
    """`except:` and `except BaseException` also catch cancellation and Ctrl-C: whoever catches them raises again."""
    for node in ast.walk(parse(SRC / module)):
        if isinstance(node, ast.ExceptHandler) and catches_everything(node.type):
            raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
            assert raises, f"{module}, line {node.lineno}: catches BaseException and does not `raise` it again"


def catches_everything(caught: ast.expr | None) -> bool:
    each = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(one is None or (isinstance(one, ast.Name) and one.id == "BaseException") for one in each)
