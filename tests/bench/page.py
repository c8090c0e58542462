"""docs/performance.md: its tables come from docs/performance.json, into which a run merges the parts it measured."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.report import number

PAGE, DATA = "performance.md", "performance.json"
_BLOCK = re.compile(r"(<!-- (?P<name>[\w-]+): written by make bench -->\n).*?(<!-- end -->)", re.DOTALL)
_MET = {True: "yes", False: "**no**", None: ""}

Part = Mapping[str, Any]


def publish(document: Mapping[str, Any], docs: Path) -> None:
    """Merge a run into the data beside the page, part by part, and write every table of the page anew."""
    data = docs / DATA
    parts: dict[str, Part] = json.loads(data.read_text(encoding="utf-8")) if data.exists() else {}
    today = datetime.now(UTC).date().isoformat()
    about = {"taken": today, "command": document["command"], "machine": document["machine"]}
    for name in dict.fromkeys(figure["part"] for figure in document["figures"]):
        parts[name] = {**about, "figures": [figure for figure in document["figures"] if figure["part"] == name]}
    data.write_text(json.dumps(parts, indent=1) + "\n", encoding="utf-8")
    page = docs / PAGE
    page.write_text(_written(page.read_text(encoding="utf-8"), parts), encoding="utf-8")


def _written(page: str, parts: Mapping[str, Part]) -> str:
    def block(found: re.Match[str]) -> str:
        name = found["name"]
        lines = _aims(parts) if name == "aims" else _table(parts[name]) if name in parts else ["Not measured yet."]
        return found[1] + "\n" + "\n".join(lines) + "\n\n" + found[3]

    return _BLOCK.sub(block, page)


def _aims(parts: Mapping[str, Part]) -> list[str]:
    """Every figure that has an aim, over all parts."""
    rows = [
        f"| {each['what']} | {number(each['median'])} {each['unit']} | {each['aim']} | {_MET[each['met']]} |"
        for part in parts.values()
        for each in part["figures"]
        if each["aim"] is not None
    ]
    return ["| figure | median | aim | met |", "|---|---|---|---|", *rows]


def _table(part: Part) -> list[str]:
    return [
        f"Taken on {part['taken']} with `{part['command']}`: {_machine(part['machine'])}.",
        "",
        "| figure | median | lowest to highest | unit | aim | |",
        "|---|---|---|---|---|---|",
        *(_row(each) for each in part["figures"]),
    ]


def _row(figure: Mapping[str, Any]) -> str:
    cells = (figure["what"], number(figure["median"]), _spread(figure), figure["unit"], _aim(figure), figure["note"])
    return f"| {' | '.join(cells)} |"


def _spread(figure: Mapping[str, Any]) -> str:
    if len(figure["rounds"]) == 1:
        return "one round"
    return f"{number(figure['lowest'])} to {number(figure['highest'])}"


def _aim(figure: Mapping[str, Any]) -> str:
    return f"{figure['aim']}: {_MET[figure['met']]}" if figure["aim"] else ""


def _machine(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in facts.items())
