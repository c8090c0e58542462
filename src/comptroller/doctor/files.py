"""The files that a person writes: are the registry and the policies right, and are they what is installed?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comptroller.control import registry
from comptroller.control.interfaces import RegistryState
from comptroller.control.problem import ControlProblem
from comptroller.core.registry.plan import Plan
from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.settings import Settings, SettingsError, read_policies
from comptroller.shipped import ShippedBook

_SHOWN = 5  # faults that are named; `plan` names all


def check_files(settings: Settings, state: RegistryState | None) -> Sequence[Check]:
    """`state` is what is installed; None if it cannot be read."""
    shipped = _shipped(settings)
    checks = [_prices(shipped)]
    try:
        text = settings.registry.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [*checks, _no_file(settings.registry, state)]
    except (OSError, UnicodeDecodeError) as error:
        return [*checks, fail("files.registry", f"{settings.registry} cannot be read: {error}.", "Mend the file.")]
    try:
        policies = read_policies(settings.policies)
        installed = state if state is not None else RegistryState(0, {})
        document = registry.read(text, settings.providers, policies, installed.entries, shipped)
    except SettingsError as error:
        sentence = "; ".join(problem.line for problem in error.problems)
        return [*checks, fail("files.policies", f"{error.path}: {sentence}", "Mend the folder of policies.")]
    except ControlProblem as problem:
        sentence = " ".join((problem.message, *problem.details[:_SHOWN]))
        return [*checks, fail("files.registry", sentence, "Mend the file; `comptroller plan` names every fault.")]
    many = "1 file" if len(policies) == 1 else f"{len(policies)} files"
    checks.append(ok("files.registry", f"{settings.registry} and {many} of policies are right."))
    if state is not None:
        checks.append(_difference(state, registry.plan_document(state, document)))
    return checks


def _shipped(settings: Settings) -> ShippedBook:
    tables = {name: provider.price_table for name, provider in settings.providers.items()}
    return ShippedBook({name: table for name, table in tables.items() if table is not None})


def _prices(shipped: ShippedBook) -> Check:
    faults = shipped.check()
    if faults:
        return fail("files.prices", " ".join(fault.line for fault in faults), "Correct price_provider.")
    return ok("files.prices", f"The shipped price book is {shipped.version}.")


def _no_file(path: Path, state: RegistryState | None) -> Check:
    sentence = f"There is no registry file {path}."
    if state is None or state.version == 0:
        return fail("files.registry", sentence, "Write one, and install it with `comptroller apply`.")
    return warn("files.registry", sentence, "What is installed stays in force; to change it you need the file.")


def _difference(state: RegistryState, plan: Plan) -> Check:
    name = "files.plan"
    if state.version == 0:
        return ok(name, "Nothing is installed yet: the next start installs the registry file.")
    if plan.empty:
        return ok(name, f"Version {state.version} of the registry is installed, and the files say the same.")
    changes = "1 change is" if len(plan.changes) == 1 else f"{len(plan.changes)} changes are"
    return warn(
        name,
        f"{changes} in the files and not in force, the first: {plan.changes[0].sentence}.",
        "Look at `comptroller plan`, and install it with `comptroller apply`.",
    )
