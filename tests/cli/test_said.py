"""Durations, instants and tables as people read and write them."""

from datetime import UTC, datetime, timedelta

import pytest
import typer

from comptroller.cli.said import printable, read_duration, read_instant, say_relative, say_seconds
from comptroller.cli.table import Column, print_table


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("8h", 28_800), ("1h30m", 5400), ("7d", 604_800), ("2w 1d", 1_296_000)],
)
def test_durations(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "h", "8 hours", "-1h", "1.5h", "8h!", "1h 30", "99999999999s", "٣h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        read_duration(text)


def test_instants() -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    assert abs(read_instant("1h") - hour_ago) < timedelta(seconds=5)
    assert read_instant("2026-11-22T06:00:00Z") == datetime(2026, 11, 22, 6, tzinfo=UTC)
    assert read_instant("2026-11-22T06:00:00+02:00") == datetime(2026, 11, 22, 4, tzinfo=UTC)
    assert read_instant("2026-11-22").tzinfo is not None
    for text in ("yesterday", "2026-13-01", ""):
        with pytest.raises(typer.BadParameter):
            read_instant(text)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_seconds(seconds: int, said: str) -> None:
    assert say_seconds(seconds) == said


def test_relative() -> None:
    assert say_relative(None) == ""
    assert say_relative((datetime.now(UTC) + timedelta(minutes=5, seconds=5)).isoformat()) == "in 5 min"
    assert say_relative((datetime.now(UTC) - timedelta(seconds=30)).isoformat()).endswith("s ago")


def test_money_stands_under_money_and_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    print_table(
        (Column("name"), Column("USD", "number"), Column("last")), [(long, "12.50", "a"), ("y", "~0.0375", "")], ""
    )
    head, first, second = capsys.readouterr().out.splitlines()
    assert long in first
    assert first.index(".5") == second.index(".0375")
    assert head.index("USD") + 3 == second.index(".0375") + 5
    assert not any(line.endswith(" ") for line in (head, first, second))
    assert "\x1b" not in head


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table((Column("name"),), [], "No call.")
    assert capsys.readouterr().out == "No call.\n"


def test_nothing_that_steers_a_terminal_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("a\x1b[2Jb\r\n\x9b\u202ec") == "a\\x1b[2Jb\\r\\n\\x9b\\u202ec"
    assert printable("Grüße, 你好") == "Grüße, 你好"
    print_table((Column("model"),), [("\x1b]0;owned\x07[red]x[/red]",)], "")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]x[/red]" in out
