"""`comptroller policy`: check policy files, test them, and ask why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import FAILED, CommandError
from comptroller.cli.options import AsJson, Config
from comptroller.cli.policy_files import Found, find_files, load_or_fail
from comptroller.cli.registry_file import File, Folder
from comptroller.cli.said import write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.cli.golden import Result
    from comptroller.control.policy import PolicyExplanation

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Where = Annotated[
    Path | None,
    typer.Argument(metavar="PATH", help="A folder or one file.", show_default="`policies` in comptroller.toml"),
]
Golden = Annotated[Path, typer.Argument(metavar="FILE", help="Requests and what is expected of them, in TOML.")]
Identity = Annotated[str, typer.Argument(metavar="IDENTITY", help="Who would call, such as agent/scout.")]
What = Annotated[str, typer.Argument(metavar="MODEL|TOOL", help="The model, or the tool as SERVER/TOOL.")]
Arguments = Annotated[str, typer.Option("--arguments", metavar="JSON", help="Arguments of the tool.")]
Used = Annotated[
    list[str] | None, typer.Option("--used", metavar="TOOL", help="A tool that its run has used before; repeatable.")
]
Calls = Annotated[int, typer.Option("--calls", metavar="N", min=0, help="How many calls its session has made.")]
TaskType = Annotated[str, typer.Option("--task-type", metavar="TYPE", help="What its session was opened for.")]
Profile = Annotated[str, typer.Option("--profile", metavar="NAME", help="The mission profile of its session.")]
Estimate = Annotated[str, typer.Option("--estimate", metavar="USD", help="The most that the call could cost.")]
Input = Annotated[int, typer.Option("--input-tokens", metavar="N", min=0, help="The most input that it could have.")]
Output = Annotated[int, typer.Option("--output-limit", metavar="N", min=0, help="Its output limit in tokens.")]
Age = Annotated[int, typer.Option("--session-age", metavar="SECONDS", min=0, help="How old its session is.")]
Left = Annotated[
    int,
    typer.Option(
        "--budget-left", metavar="BP", min=0, max=10_000, help="Left in the tightest budget, in 1/100 of a percent."
    ),
]

_RESULTS = (Column("request"), Column("expected"), Column("came"), Column("by"), Column(""))
_BEARINGS = (Column("policy"), Column("effect"), Column("this call"), Column("remedy"), Column("where"))


@app.callback()
def policy(context: typer.Context, config: Config = None) -> None:
    """Check policy files, test them, and ask the gateway why not.

    \b
    Example:
      comptroller policy check
      comptroller policy test policies/golden.toml
      comptroller policy explain agent/scout gpt-4o --estimate 1.50
    """
    if config is not None:
        context.obj = config


@app.command()
def check(
    context: typer.Context,
    path: Where = None,
    registry: File = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Check policy files, without a gateway.

    Looks at syntax, schema, ids, annotations, remedies, and every name in them. Names are held against the
    registry file; without one they are not checked. Exit code 1 if something is wrong.

    \b
    Example:
      comptroller policy check policies/
    """
    import msgspec

    from comptroller.core.policy.load import load_policies, warnings
    from comptroller.core.policy.policies import Policies

    files = find_files(context, config, registry, path)
    found = load_policies(files.policies, files.targets)
    problems = [] if isinstance(found, Policies) else found
    looked_at = list(warnings(found, files.targets)) if isinstance(found, Policies) else []
    if as_json:
        count, version = (len(found.policies), found.version) if isinstance(found, Policies) else (0, None)
        rows = {"policies": count, "version": version, "problems": problems, "warnings": looked_at}
        write_json(msgspec.json.encode({**rows, "names_checked": files.targets is not None}))
    elif isinstance(found, Policies):
        _say_checked(found, files)
        for warning in looked_at:
            write(f"warning: {warning.line}")
    else:
        for problem in problems:
            write(problem.line)
        write(f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}.")
    raise typer.Exit(FAILED if problems else 0)


@app.command("test")
def decide_golden(
    context: typer.Context,
    file: Golden,
    registry: File = None,
    policies: Folder = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Try policies on a file of requests.

    Decides them without a gateway and compares with what is expected. Exit code 1 if one comes out otherwise.
    The format: docs/policies.md.

    \b
    Example:
      comptroller policy test policies/golden.toml
    """
    import msgspec

    from comptroller.cli.golden import decide_all, read_golden

    files = find_files(context, config, registry, policies)
    results = decide_all(load_or_fail(files), files, read_golden(file))
    wrong = sum(not result.passed for result in results)
    if as_json:
        write_json(msgspec.json.encode(results))
    else:
        print_table(_RESULTS, [_result(each) for each in results], "There is no request in this file.")
        write(f"{len(results) - wrong} as expected, {wrong} not.")
    raise typer.Exit(FAILED if wrong else 0)


@app.command()
def explain(
    context: typer.Context,
    identity: Identity,
    what: What,
    *,
    estimate: Estimate = "0",
    input_tokens: Input = 0,
    output_limit: Output = 0,
    session_age: Age = 0,
    budget_left: Left = 10_000,
    arguments: Arguments = "",
    used: Used = None,
    calls: Calls = 0,
    task_type: TaskType = "",
    profile: Profile = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Ask why a call would be refused.

    Says what the gateway's policies would make of it, and how each of them bears on it. Nothing is held, sent or
    written down. Exit code 0 whatever the answer is.

    \b
    Example:
      comptroller policy explain agent/scout gpt-4o --estimate 1.50 --input-tokens 20000
      comptroller policy explain agent/scout files/write_file --arguments '{"path": "/etc/hosts"}'
    """
    from comptroller.cli.transport import connect
    from comptroller.control.policy import PolicyExplanation, Question

    _check_arguments(arguments)
    question = Question(
        identity,
        what,
        estimate,
        input_tokens,
        output_limit,
        session_age,
        budget_left,
        task_type=task_type,
        profile=profile,
        calls=calls,
        tools_used=tuple(used or ()),
        arguments=arguments,
    )
    with connect(context, config) as api:
        answer = api.post("policies", "explanation", sent=question)
    if as_json:
        write_json(answer.body)
        return
    _show(answer.read(PolicyExplanation))


def _check_arguments(said: str) -> None:
    """What cannot be read counts as everything at the gateway; here it is a slip of the hand."""
    import msgspec

    try:
        read = msgspec.json.decode(said or "{}")
    except msgspec.DecodeError as error:
        raise CommandError(
            f"--arguments is no JSON: {error}.", 'Put it in quotes: \'{"path": "/etc/hosts"}\'.'
        ) from None
    if not isinstance(read, dict):
        raise CommandError("--arguments is no JSON object.", 'Give each by its name: \'{"path": "/etc/hosts"}\'.')


def _say_checked(found: object, files: Found) -> None:
    from comptroller.core.policy.policies import Policies

    if not isinstance(found, Policies):
        raise CommandError("There is nothing to say.")
    many = "1 policy" if len(found.policies) == 1 else f"{len(found.policies)} policies"
    where = "1 file" if len(files.policies) == 1 else f"{len(files.policies)} files"
    names = "" if files.targets is not None else " Names were not checked: there is no registry file."
    write(f"{many} in {where}, version {found.version}: nothing is wrong.{names}")


def _result(result: Result) -> tuple[str, ...]:
    by = [*result.policies, *([f"rule {result.rule}"] if result.rule else ())]
    return (
        result.name,
        result.expected,
        result.came,
        ", ".join(by),
        "" if result.passed else f"WRONG: {result.detail}",
    )


def _show(found: PolicyExplanation) -> None:
    for sentence in found.sentences:
        write(sentence)
    write(f"Version {found.policy_version} of the policies, version {found.registry_version} of the registry.")
    write("")
    rows = [(each.id, each.effect, each.detail, each.remedy or "", each.where) for each in found.policies]
    print_table(_BEARINGS, rows, "There is no policy.")
