"""Classes of arguments: what is in them, as far as policies, approvals and records need to know it.

A class is a hint about content, found by its form in time linear to its length; it is no proof of absence. Arguments
that are too long to be read, or that cannot be, are taken to hold everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import cast

import msgspec

from comptroller.core.tool.secrets import holds_secret, is_secret_name

OVERS = (100, 1_000, 10_000, 100_000, 1_000_000)
CLASSES = (
    "url",  # something://
    "private_host",  # an address or name inside a network: of a URL, or as an argument by itself
    "path",  # a text that begins as a path of files does
    "parent_path",  # a path that goes up
    "email",
    "secret",  # a key or token of a known form, a private key, or a text under a name such as `password`
    *(f"over_{number}" for number in OVERS),  # a number, or a text that is one, that is larger, whatever its sign
    "large",
)

LARGE_BYTES = 10_000
MOST_BYTES, MOST_TEXTS = 65_536, 2_000
"""Arguments that are longer, or have more texts, names included, are not read."""

_HOST_LENGTH = 255
_HOST = re.compile(r"://([^\s/?#\\]{0,255})")
_PATH = re.compile(r"/|~[/\\]|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|file:")
_PARENT = re.compile(r"(?:^|[/\\])\.\.(?:$|[/\\])", re.MULTILINE)
_EMAIL = re.compile(r"(?<=[\w.+-])@[\w-]{1,63}\.\w")
_NUMBER = re.compile(r"[+-]?[$]?[0-9][0-9,_]{0,30}(?:\.[0-9]{0,20})?(?:[eE][+-]?[0-9]{1,3})?")
_ADDRESS = re.compile(r"[0-9a-fxA-FX.:]{1,45}")

_INSIDE = (".internal", ".local", ".localhost", ".lan", ".intranet", ".home.arpa", ".svc")


def classes_of(arguments: bytes) -> tuple[str, ...]:
    """The classes of the arguments of a call, in the order of CLASSES. `arguments`: JSON."""
    if len(arguments) > MOST_BYTES:
        return CLASSES
    try:
        read: object = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return CLASSES
    texts: list[str] = []
    numbers: list[float] = []
    named = _gather(read, texts, numbers)
    if len(texts) > MOST_TEXTS:
        return CLASSES
    found = set(_in_texts(texts))
    if named:
        found.add("secret")
    if numbers:
        largest = max(numbers)
        found.update(f"over_{number}" for number in OVERS if largest > number)
    if len(arguments) >= LARGE_BYTES:
        found.add("large")
    return tuple(name for name in CLASSES if name in found)


def _gather(read: object, texts: list[str], numbers: list[float]) -> bool:
    """Every text (names too) and the size of every number; whether a text stands under the name of a secret."""
    named = False
    left = [read]
    while left:
        value = left.pop()
        if isinstance(value, str):
            texts.append(value)
            if value and value[0] in "+-$0123456789" and _NUMBER.fullmatch(value):
                numbers.append(abs(float(value.replace(",", "").replace("_", "").replace("$", ""))))
        elif isinstance(value, dict):
            for name, each in cast("dict[str, object]", value).items():
                texts.append(name)
                left.append(each)
                named = named or (isinstance(each, str) and each != "" and is_secret_name(name))
        elif isinstance(value, list):
            left.extend(cast("list[object]", value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            numbers.append(_size(value))
    return named


def _size(number: float) -> float:
    try:
        return abs(float(number))
    except OverflowError:
        return float("inf")


def _in_texts(texts: list[str]) -> Iterator[str]:
    whole = "\n".join(texts)
    hosts = [text for text in texts if len(text) <= _HOST_LENGTH]
    if "://" in whole:
        yield "url"
        hosts += map(_host, _HOST.findall(whole))
    if any(map(_is_private, hosts)):
        yield "private_host"
    if any(map(_PATH.match, texts)):
        yield "path"
    if ".." in whole and _PARENT.search(whole):
        yield "parent_path"
    if "@" in whole and _EMAIL.search(whole):
        yield "email"
    if holds_secret(whole):
        yield "secret"


def _host(authority: str) -> str:
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_private(host: str) -> bool:
    """Whether a host is inside a network. An address that is written as no address should be counts as one."""
    if "." not in host and ":" not in host and host[:2] not in {"0x", "0X"}:
        return host.lower() == "localhost"
    name = host.lower().removesuffix(".")
    if name.endswith(_INSIDE) or name == "localhost":
        return " " not in name
    if _ADDRESS.fullmatch(name) is None:
        return False
    try:
        return not ip_address(name).is_global
    except ValueError:
        return name.startswith("0x") or name.replace(".", "").isdigit()
