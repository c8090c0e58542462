"""Nothing of a machine, a registry or a key gets into what is published."""

import re

import pytest

from tests.architecture.house import ROOT, published

# Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "the address of a package registry": r"index-"
    r"url[ =]\s*\S|/sim"
    r"ple/|(?:py"
    r"pi|python"
    r"hosted|np"
    r"mjs)\.org",
    "a path of one machine": r"(?<![\w.~)}\]*-])/(?:root|work|farm|Users|opt/py" r"pi)/\w",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE " r"KEY-----",
    "an OpenAI or Anthropic key": r"\bsk-[A-Za-z0-9]{20,}|\bsk-(?:proj|ant|svcacct)-[\w-]{20,}",
    "a cloud key": r"\bAK" r"IA[0-9A-Z]{16}\b|\bAI" r"za[\w-]{35}\b",
    "a forge's token": r"\bgh[pousr]_[A-Za-z0-9]{36}|\bglp" r"at-[\w-]{20}",
    "a signed credential": r"\bey" r"J[\w-]{15,}\.ey" r"J[\w-]{15,}\.[\w-]{20,}",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what].encode())
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in published()
        for number, line in enumerate(path.read_bytes().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"{what} stands in {found}; make such a value up while the test runs"


def test_the_patterns_find_what_they_look_for() -> None:
    planted = {
        "the address of a package registry": "--extra-index" + "-url=somewhere",
        "a path of one machine": "see /" + "root/notes",
        "a private key": "-----BEGIN EC PRIVATE " + "KEY-----",
        "an OpenAI or Anthropic key": "sk-" + "a1" * 12,
        "a cloud key": "AK" + "IA" + "A" * 16,
        "a forge's token": "gh" + "p_" + "a" * 36,
        "a signed credential": ".".join(["ey" + "J" + "a" * 20, "ey" + "J" + "b" * 20, "c" * 30]),
    }
    assert planted.keys() == FORBIDDEN.keys()
    for what, text in planted.items():
        assert re.search(FORBIDDEN[what], text), what
