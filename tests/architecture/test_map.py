"""ARCHITECTURE.md is a map: what is in the tree is on it, and what is on it is in the tree.

The map is the block fenced as ```map: a path below src/comptroller, two spaces or more, a sentence.
A folder ends with `/`; `folder/*` stands for every file below it (for many of one kind, such as migrations).
"""

import ast
import re

from tests.architecture.house import ROOT, SRC, modules, parse

ENTRY = re.compile(r"(?P<path>\S+)(?:\s{2,}(?P<sentence>\S.*))?")


def read_map() -> dict[str, str]:
    blocks = re.findall(
        r"^```map\n(.*?)^```$", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(blocks) == 1, "ARCHITECTURE.md holds one block fenced as ```map"
    entries: dict[str, str] = {}
    for line in filter(None, map(str.strip, blocks[0].splitlines())):
        entry = ENTRY.fullmatch(line)
        assert entry is not None, f"not an entry of the map: {line!r}"
        assert entry["sentence"], f"the map says nothing about: {line!r} (path, two spaces, a sentence)"
        assert entry["path"] not in entries, f"{entry['path']} is on the map twice"
        entries[entry["path"]] = entry["sentence"]
    return entries


def test_what_is_in_the_tree_is_on_the_map() -> None:
    on_map = read_map()
    wholes = tuple(path.removesuffix("*") for path in on_map if path.endswith("/*"))
    folders = {
        f"{folder.relative_to(SRC).as_posix()}/"
        for path in SRC.rglob("*.py")
        for folder in path.parents
        if SRC in folder.parents
    }
    missing = sorted(name for name in folders.union(modules()) - on_map.keys() if not name.startswith(wholes))
    lines = "\n".join(f"{name:<32}{first_words(name)}" for name in missing)
    assert not missing, f"not on the map in ARCHITECTURE.md; each needs its line there, for example:\n{lines}"


def first_words(name: str) -> str:
    said = None if name.endswith("/") else ast.get_docstring(parse(SRC / name))
    return (said or "what is it?").splitlines()[0].rstrip(".")


def test_what_is_on_the_map_is_in_the_tree() -> None:
    gone = [path for path in read_map() if not (SRC / path.removesuffix("*")).exists()]
    assert not gone, f"on the map in ARCHITECTURE.md, and not in src/comptroller: {gone}"


def test_decisions_are_in_their_index() -> None:
    folder = ROOT / "docs" / "decisions"
    records = {path.name for path in folder.glob("[0-9]*.md")}
    named = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert records == named, f"only in the folder: {records - named}; only in the index: {named - records}"
    assert len({name[:4] for name in records}) == len(records), "two decisions share a number"
