"""All checks, in the order in which a person would look."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from comptroller.control.interfaces import RegistryState
from comptroller.doctor import (
    certificates,
    clock,
    credentials,
    disk,
    files,
    issuers,
    machine,
    providers,
    servers,
    store,
)
from comptroller.doctor.check import Check, fail, ok
from comptroller.settings import Settings, SettingsError, load_settings
from comptroller.store.checkup import check_up
from comptroller.store.lock import LOCK, OFFLINE, Held, Holder, held_now

GATEWAY = "store.gateway"
Progress = Callable[[str, int, int], None]
Answers = Callable[[Settings], Check]
"""Whether the gateway that runs on these settings answers; asked by whoever may open connections to it."""
Standing = Callable[[], providers.Standing | None]
"""What that gateway says of its providers and servers; None if it does not say."""


async def examine(
    config: Path, environ: Mapping[str, str], answers: Answers, standing: Standing, progress: Progress
) -> list[Check]:
    """Look at everything that can be looked at. Changes nothing, and needs no gateway."""
    try:
        settings = load_settings(config)
    except SettingsError as error:
        sentence = " ".join((str(error).splitlines()[0], *(problem.line for problem in error.problems)))
        return [fail("settings", sentence, "Mend the file: docs/reference/settings.md."), *machine.check_machine(None)]
    checks = [ok("settings", f"{config} is right."), *certificates.check_certificates(settings, time.time_ns())]
    if not settings.state.exists():
        checks.append(ok("store.holder", f"There is no state folder {settings.state} yet: the first start makes it."))
        checks += files.check_files(settings, None)
    else:
        found, state = _examine_state(settings, answers, progress)
        checks += [*found, *await issuers.check_issuers(state, settings.registry.parent)]
    answered = any(check.name == GATEWAY and check.state == "ok" for check in checks)
    said = standing() if answered else None
    checks += await providers.check_providers(settings.providers, environ, said)
    checks += await servers.check_servers(settings, environ, said)
    checks += machine.check_machine(_pid_here(settings))
    return checks


def _examine_state(
    settings: Settings, answers: Answers, progress: Progress
) -> tuple[Sequence[Check], RegistryState | None]:
    """What is wrong with the state folder, and the registry that is installed, if it can be read."""
    state, now_ns = settings.state, time.time_ns()
    try:
        held = held_now(state / LOCK)
        checks = [store.check_holder(held)]
        if _serving(held) is not None:
            checks.append(answers(settings))
        found = check_up(state, progress)
        checks += store.check_store(found, held, now_ns)
        checks.append(store.check_leftovers(state))
        checks.append(store.check_kept(state, now_ns))
        checks += files.check_files(settings, found.registry)
        checks += clock.check_clock(now_ns, found.last_ns, _serving(held))
        checks += disk.check_disk(state, found.database_bytes, settings.durability)
        checks += credentials.check_credentials(state, now_ns, bootstrap_ended=found.bootstrap_ended)
    except PermissionError as error:
        hint = "Run this as the user of the gateway, or as root."
        return [fail("store.holder", f"{error.filename or state} cannot be read: {error.strerror}.", hint)], None
    return checks, found.registry


def _serving(held: Held | None) -> Holder | None:
    """The gateway that holds the store: not a command."""
    holder = None if held is None else held.holder
    return holder if holder is not None and holder.listen != OFFLINE else None


def _holder(settings: Settings) -> Holder | None:
    try:
        return _serving(held_now(settings.state / LOCK))
    except OSError:
        return None


def _pid_here(settings: Settings) -> int | None:
    """The gateway's process, if it is one of this machine."""
    holder = _holder(settings)
    if holder is None or holder.host != os.uname().nodename or not Path("/proc", str(holder.pid)).exists():
        return None
    return holder.pid
