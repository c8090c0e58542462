"""`comptroller backup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, chosen_config
from comptroller.cli.said import Progress, note, write, write_json

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where the backup is made, in a dated folder of its own.")
]


def backup(context: typer.Context, folder: Folder, as_json: AsJson = False, config: Config = None) -> None:
    """Copy the store, while the gateway runs or not.

    Prints where the backup is. Nothing is ever overwritten. It holds the books, the registry and the policies, and
    no secret: neither signing keys nor the admin credential.

    \b
    Example:
      comptroller backup /var/backups/comptroller
    """
    import time

    import msgspec

    from comptroller.cli.failure import CommandError
    from comptroller.cli.holder import alone_with, said_plainly
    from comptroller.cli.target import find_config, read_settings
    from comptroller.store.backup import DATABASE, take_backup

    state = read_settings(find_config(chosen_config(context, config))).state
    if not (state / DATABASE).exists():
        raise CommandError(f"There is no store in {state} yet.", "Start the gateway once, or check --config.")
    with said_plainly(), alone_with(state) as alone:
        made = take_backup(state / DATABASE, folder, time.time_ns(), Progress("backup"), alone=alone)
    if as_json:
        write_json(msgspec.json.encode({"path": str(made.path), **msgspec.to_builtins(made.manifest)}))
        return
    write(str(made.path))
    found = made.manifest
    note(
        f"calls {found.calls}, open holds {found.open_holds}, registry version {found.registry_version}, schema "
        f"{found.schema}, {found.bytes / 1_048_576:.1f} MiB. Keep it on another disk."
    )
