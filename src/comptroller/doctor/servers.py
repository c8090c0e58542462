"""MCP servers: can they be reached or run, as whom, and what that user could read of ours. Nothing is run."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.doctor.providers import PATIENCE_S, Standing, reach
from comptroller.gateway.egress_connect import tls_context
from comptroller.gateway.servers import PREFIX_OF_SERVERS, build_servers
from comptroller.settings import ServerSettings, Settings, files_of

_RESTART = "Set it where the gateway starts, and restart it: until then calls to this server are refused."
_UNKNOWN = "The gateway was started before this server was set up"


async def check_servers(settings: Settings, environ: Mapping[str, str], standing: Standing | None) -> Sequence[Check]:
    """Every server's key or variables, its address or program, and its user. `standing`: as of providers."""
    if not settings.servers:
        return []
    built = build_servers(settings.servers, environ).by_name
    tls = tls_context()
    checks: list[Check] = []
    for name, server in settings.servers.items():
        where, provider = f"servers.{name}", built[PREFIX_OF_SERVERS + name]
        row = None if standing is None else standing.get(provider.name)
        missing = provider.missing if standing is None else _UNKNOWN if row is None else row.missing
        checks.append(
            ok(f"{where}.setup", "It has what it needs.")
            if missing is None
            else warn(f"{where}.setup", f"{missing}.", _RESTART)
        )
        if server.command is None:
            patience_s = min(server.connect_timeout_s, PATIENCE_S)
            reached = await reach(f"{where}.address", provider.origin, tls, patience_s, "url")
            if missing is not None and reached.state == "fail":
                reached = warn(reached.name, reached.sentence, reached.hint)  # no call goes there
            checks.append(reached)
        else:
            checks += [_program(f"{where}.program", server), _user(f"{where}.user", server, settings)]
    return [*checks, *_shared_users(settings.servers)]


def _program(name: str, server: ServerSettings) -> Check:
    path = server.command[0] if server.command else ""
    try:
        found = Path(path).stat()
    except OSError as error:
        return fail(name, f"{path} cannot be run: {error.strerror}.", "Correct `command`, or install it.")
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o111:
        return fail(name, f"{path} is no program.", "Correct `command`: the first word is what is run.")
    if server.run_as is not None and not _may_run(Path(path), server.run_as):
        hint = "Name one that others may run, in folders that they may enter; a home folder often is closed to them."
        return fail(name, f"{server.run_as} may not run {path}, or enter a folder that it lies in.", hint)
    if found.st_mode & stat.S_IWOTH:
        return warn(name, f"{path} can be changed by everyone on this machine.", f"chmod o-w {path}")
    return ok(name, f"{path} is there.")


def _user(name: str, server: ServerSettings, settings: Settings) -> Check:
    if server.run_as is None:
        sentence = "It runs as the gateway's own user, and can read every key that the gateway has."
        return warn(name, sentence, "Name another user in run_as, and leave out allow_same_user.")
    try:
        entry = pwd.getpwnam(server.run_as)
    except KeyError:
        return fail(name, f"There is no user {server.run_as!r}.", f"useradd --system --no-create-home {server.run_as}")
    groups = frozenset(os.getgrouplist(server.run_as, entry.pw_gid))
    secret = [settings.state, *map(Path, sorted(files_of(settings)))]
    open_to_it = [str(path) for path in secret if _may_read(path, entry.pw_uid, groups)]
    if open_to_it:
        sentence = f"{server.run_as} can read what only the gateway should: {', '.join(open_to_it)}."
        return fail(name, sentence, "Take the rights of others and of that user's groups from it: chmod go-rwx.")
    return ok(name, f"It runs as {server.run_as}, who reads nothing of the gateway's.")


def _may_run(path: Path, user: str) -> bool:
    """A user that is not there is another check's."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return True
    return _may(0o1, path, entry.pw_uid, frozenset(os.getgrouplist(user, entry.pw_gid)))


def _may_read(path: Path, uid: int, groups: frozenset[int]) -> bool:
    return _may(0o4, path, uid, groups)


def _may(wanted: int, path: Path, uid: int, groups: frozenset[int]) -> bool:
    """Whether this user may read (4) or run (1) it, by owners and modes of the path and all that it lies in."""
    try:
        path = path.resolve()
        whole = [(each.stat(), 0o1) for each in path.parents] + [(path.stat(), wanted)]
    except OSError:
        return False
    return all(_allowed(found, wanted, uid, groups) for found, wanted in whole)


def _allowed(found: os.stat_result, wanted: int, uid: int, groups: frozenset[int]) -> bool:
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
    return bool(found.st_mode >> shift & wanted)


def _shared_users(servers: Mapping[str, ServerSettings]) -> Iterator[Check]:
    """Processes of one user can read each other's memory, and so the variables of the other."""
    by_user: dict[str, list[str]] = {}
    for name, server in servers.items():
        if server.run_as is not None:
            by_user.setdefault(server.run_as, []).append(name)
    for user, names in by_user.items():
        if len(names) > 1 and any(servers[name].variables for name in names):
            sentence = f"{', '.join(names)} run as {user}: each can read what the others were told (variables)."
            yield warn(f"servers.users.{user}", sentence, "Give each a user of its own.")
