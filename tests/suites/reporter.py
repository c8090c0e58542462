"""A pytest plugin for the SDK's own tests, in the SDK's own environment: it imports nothing of ours.

It puts the credential where their conftest has its made-up key, and writes one line of JSON for each test: how it
ended, and if an HTTP error ended it, what was asked and what was answered.
"""

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_OUT, _CREDENTIAL = Path(os.environ["SUITE_OUTCOMES"]), os.environ["SUITE_CREDENTIAL"]
_SAID = 600  # characters of an answer that are kept


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has an answer of its own sends nothing. Deletions come last: the mock server forgets them, and the gateway
    does not.
    """
    items[:] = [item for item in items if not any("respx" in name for name in getattr(item, "fixturenames", ()))]
    items.sort(key=lambda item: "delete" in item.name)


def pytest_collection_finish() -> None:
    """Their fixtures read these names when they make a client."""
    conftest: Any = sys.modules["tests.conftest"]
    for name in ("api_key", "admin_api_key"):
        if hasattr(conftest, name):
            setattr(conftest, name, _CREDENTIAL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """The test itself counts, and what went wrong around it."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        line = {"test": item.nodeid, "outcome": report.outcome, **_answer(call)}
        with _OUT.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
    return report


def _answer(call: pytest.CallInfo[None]) -> dict[str, Any]:
    error = call.excinfo.value if call.excinfo else None
    response = getattr(error, "response", None)
    if response is None:
        return {"said": str(error)[:_SAID]} if error else {}
    try:
        text = response.text
    except Exception as unread:  # noqa: BLE001 - a streamed answer that was never read, in either HTTP library
        text = str(unread)
    return {
        "asked": f"{response.request.method} {response.request.url.path}",
        "status": response.status_code,
        "by_provider": response.headers.get("x-comptroller-error-source") == "provider",
        "said": text[:_SAID],
        "code": _code(text),
    }


def _code(text: str) -> str:
    """The code of a refusal, in any dialect's shape."""
    try:
        error = json.loads(text)["error"]
        return str(error.get("comptroller", error).get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
