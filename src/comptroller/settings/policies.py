"""Reading the policy folder. What stands in its files is the business of core/policy."""

from __future__ import annotations

from pathlib import Path

from comptroller.core.problem import Problem
from comptroller.settings.load import SettingsError

SUFFIX = ".cedar"


def read_policies(folder: Path) -> dict[str, str]:
    """The policy files of a folder: name -> text. Other files are left alone; no folder is no file.

    Raises SettingsError with every file that cannot be read.
    """
    if not folder.exists():
        return {}
    if not folder.is_dir():
        raise SettingsError(folder, (Problem("policies", "This is not a folder."),))
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for path in sorted(folder.glob(f"[!.]*{SUFFIX}")):
        try:
            found[path.name] = path.read_text(encoding="utf-8")
        except OSError as error:
            problems.append(Problem(path.name, f"It cannot be read: {error.strerror}."))
        except UnicodeDecodeError:
            problems.append(Problem(path.name, "It is not UTF-8."))
    if problems:
        raise SettingsError(folder, tuple(problems))
    return found
