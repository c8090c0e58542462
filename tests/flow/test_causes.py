"""A call to a tool has a cause: the last model call in its run whose answer asked for just that."""

from comptroller.core.tool.called import CalledTool
from comptroller.flow.causes import Causes

READ = CalledTool("mcp__files__read", "digest-a")


def test_an_answer_is_the_cause_of_the_call_that_it_asked_for() -> None:
    causes = Causes()
    causes.end("top", "ses", "call-1", [CalledTool("search", "digest-a"), READ])
    assert causes.find("top", "ses", "files/read", "digest-a") == "call-1"
    assert causes.find("top", "ses", "files/read", "digest-b") is None, "other arguments"
    assert causes.find("top", "ses", "files/write", "digest-a") is None, "another tool"
    assert causes.find("other", "ses", "files/read", "digest-a") is None, "another run"


def test_the_last_answer_is_the_cause_and_one_of_the_same_session_goes_first() -> None:
    causes = Causes()
    causes.end("top", "parent", "call-1", [READ])
    causes.end("top", "child", "call-2", [READ])
    causes.end("top", "other", "call-3", [READ])
    assert causes.find("top", "child", "files/read", "digest-a") == "call-2"
    assert causes.find("top", "parent", "files/read", "digest-a") == "call-1"
    assert causes.find("top", "stranger", "files/read", "digest-a") == "call-3"


def test_an_answer_counts_while_it_is_still_on_its_way() -> None:
    causes, so_far = Causes(), list[CalledTool]()
    causes.begin("top", "ses", "call-1", lambda: so_far)
    assert causes.find("top", "ses", "files/read", "digest-a") is None
    so_far.append(READ)
    assert causes.find("top", "ses", "files/read", "digest-a") == "call-1"
    causes.end("top", "ses", "call-1", so_far)
    assert causes.find("top", "ses", "files/read", "digest-a") == "call-1"


def test_what_was_not_answered_in_the_end_was_no_cause() -> None:
    causes = Causes()
    causes.begin("top", "ses", "call-1", lambda: [READ])
    causes.end("top", "ses", "call-1", [])
    assert causes.find("top", "ses", "files/read", "digest-a") is None


def test_arguments_that_nobody_kept_are_those_of_no_call() -> None:
    causes = Causes()
    causes.end("top", "ses", "call-1", [CalledTool("mcp__files__read", "")])
    assert causes.find("top", "ses", "files/read", "digest-a") is None


def test_it_remembers_so_many_runs_and_calls_and_no_more() -> None:
    causes = Causes(runs=2, calls=2)
    for run in ("a", "b", "a", "c"):
        causes.end(run, "ses", f"call-{run}", [READ])
    assert [causes.find(run, "ses", "files/read", "digest-a") for run in "abc"] == ["call-a", None, "call-c"]
    causes.end("c", "ses", "call-d", [CalledTool("x", "1"), CalledTool("x", "2")])
    assert causes.find("c", "ses", "files/read", "digest-a") is None
