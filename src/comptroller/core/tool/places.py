"""Where an argument leads: a path below a folder, a URL to a host. Each is taken apart; what is not plain is a no."""

from __future__ import annotations

import re
from collections.abc import Iterable

# No part of it can be read in two ways: the classes of characters on both sides of each mark exclude each other.
_URL = re.compile(
    r"(?:(?:https?|wss?)://)?([a-z0-9.-]+)(?::[0-9]{1,5})?(?:[/?#][^\s\\\x00-\x1f\x7f]*)?", re.IGNORECASE | re.ASCII
)
_UNCLEAR = frozenset({"", ".", ".."})
_UNPLAIN = re.compile(r"[\x00-\x1f\x7f\\]")


def is_under(path: str, folders: Iterable[str]) -> bool:
    """Whether a path, as it is written, is one of these folders or below one.

    No `.` or `..` or empty part, no backslash, no control character, and of a URL (`file:///srv`) nothing that is
    encoded: what reads it might see another path. A link on the disk may lead elsewhere: this cannot know.
    """
    if _UNPLAIN.search(path):
        return False
    return any(_is_under(path.removesuffix("/"), folder) for folder in folders)


def is_folder(text: str) -> bool:
    """Whether a path can be one that others are under."""
    scheme, _, path = text.rpartition("://")
    plain = not _UNPLAIN.search(text) and not ("%" in path and scheme)
    return plain and (path == "/" or not _UNCLEAR.intersection(path.removeprefix("/").removesuffix("/").split("/")))


def _is_under(path: str, folder: str) -> bool:
    root = folder.removesuffix("/")
    if path == root:
        return True
    encoded = "://" in folder and "%" in path
    return path.startswith(f"{root}/") and not (encoded or _UNCLEAR.intersection(path[len(root) + 1 :].split("/")))


def leads_to(url: str, hosts: Iterable[str]) -> bool:
    """Whether a URL, or a bare host with or without a port, is of one of these hosts.

    `*.acme.example` is any host below it, and not itself. A URL with a user name, a backslash or white space is of
    none, and so is one that is not of HTTP or WebSockets.
    """
    found = _URL.fullmatch(url)
    if found is None:
        return False
    host = found[1].lower().removesuffix(".")
    return any(
        host.endswith(wanted[1:]) and len(host) >= len(wanted) if wanted.startswith("*.") else host == wanted
        for wanted in (each.lower() for each in hosts)
    )
