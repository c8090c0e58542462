"""Policy files beside the registry that they are about, for commands that need no gateway."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from comptroller.cli.failure import CommandError
from comptroller.cli.registry_file import read_policy_files, read_registry_file

if TYPE_CHECKING:
    import typer

    from comptroller.core.policy.policies import Policies
    from comptroller.core.policy.targets import Targets
    from comptroller.core.registry.entries import Document


class Found(NamedTuple):
    """What a command works on. Without a registry file, names in policies stay unchecked."""

    policies: Mapping[str, str]
    document: Document | None
    targets: Targets | None


def find_files(context: typer.Context, config: Path | None, registry: Path | None, path: Path | None) -> Found:
    """The files that were named, else those that the settings name."""
    from comptroller.core.registry.policy_files import targets_of

    settings = _settings(context, config, needed=path is None)
    if settings is not None:
        registry = settings[0] if registry is None and settings[0].exists() else registry
        path = settings[1] if path is None else path
    document = None if registry is None else _document(registry)
    targets = None if document is None else targets_of(document.entries)
    return Found(_policies(path or Path("policies")), document, targets)


def load_or_fail(files: Found) -> Policies:
    """The policies. Raises CommandError with all that is wrong with them."""
    from comptroller.core.policy.load import load_policies
    from comptroller.core.policy.policies import Policies

    found = load_policies(files.policies, files.targets)
    if not isinstance(found, Policies):
        raise CommandError(
            "The policies have faults.", "`comptroller policy check` says them.", [p.line for p in found]
        )
    return found


def _settings(context: typer.Context, config: Path | None, *, needed: bool) -> tuple[Path, Path] | None:
    """Registry and policies of comptroller.toml; None where there is none and none is needed."""
    from comptroller.cli.options import chosen_config
    from comptroller.cli.target import find_config, read_settings

    chosen = chosen_config(context, config)
    try:
        place = find_config(chosen)
    except CommandError:
        if needed:
            raise
        return None
    settings = read_settings(place)
    return settings.registry, settings.policies


def _policies(path: Path) -> Mapping[str, str]:
    if not path.exists():
        raise CommandError(f"There is no {path}.", "Say which folder or file.")
    if path.is_dir():
        return read_policy_files(path)
    try:
        return {path.name: path.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read: {error}.") from error


def _document(path: Path) -> Document:
    from comptroller.core.registry.document import read_document
    from comptroller.core.registry.entries import Document

    try:
        raw = tomllib.loads(read_registry_file(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise CommandError(f"The registry file {path} is not TOML: {error}.") from error
    found = read_document(raw)
    if not isinstance(found, Document):
        raise CommandError(f"The registry file {path} has faults.", "", [problem.line for problem in found])
    return found
