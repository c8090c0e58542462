"""What a run did and how it was judged, as tables."""

from rich.console import Console
from rich.table import Table

from tests.torture.run import Result


def show(result: Result, console: Console) -> None:
    """The facts, the outcomes and every judgement with both numbers."""
    options = result.options
    title = (
        f"{result.mode}: seed {options.seed}, {options.seconds:g} s, {options.clients} clients, {options.durability}"
    )
    facts = Table(title=title, title_justify="left", show_header=False)
    for name, value in result.facts.items():
        facts.add_row(name, value)
    facts.add_row("outcomes", ", ".join(f"{number} {name}" for name, number in result.outcomes.most_common()))
    console.print(facts)
    verdicts = Table("judgement", "ours", "against", "", show_lines=False)
    for verdict in result.verdicts:
        mark = "[green]PASS[/green]" if verdict.passed else "[red]FAIL[/red]"
        verdicts.add_row(verdict.what, verdict.ours, verdict.theirs, mark)
    console.print(verdicts)
    for verdict in result.failed():
        console.print(f"[red]FAIL[/red] {verdict.what}", highlight=False)
        for example in verdict.examples:
            console.print(f"     {example}", highlight=False, markup=False)
