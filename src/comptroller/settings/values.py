"""Settings that are more than a word or a number: where to listen, where a provider lives, where its key is kept."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from comptroller.core.problem import Fault

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.?)*", re.ASCII)
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_MOST_PORT = 65_535
_VALUE_LENGTH = 200


class Address(NamedTuple):
    """Where to listen. Port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """True if only this machine can reach it."""
        return self.host == "localhost" or ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class BaseUrl(NamedTuple):
    """Where a provider lives. `path_prefix` stands before the dialect's own path, which begins with /v1."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path_prefix: str

    @property
    def private(self) -> bool:
        """True if the host is by itself an address of this machine or of a private network."""
        if self.host == "localhost":
            return True
        try:
            address = ip_address(self.host)
        except ValueError:
            return False
        return address.is_loopback or address.is_private

    @property
    def text(self) -> str:
        """As people write it: without the port that goes without saying."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == {"http": 80, "https": 443}[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path_prefix}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path_prefix}"


class WebhookUrl(NamedTuple):
    """Where notices are sent. `path` is with the query; either may be a secret, so neither is ever shown."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def base(self) -> BaseUrl:
        """The server alone: that much may be shown."""
        return BaseUrl(self.scheme, self.host, self.port, "")

    def __str__(self) -> str:
        return f"{self.base}{self.path}"


class Networks(tuple[IPv4Network | IPv6Network, ...]):
    """Addresses and ranges of addresses."""

    __slots__ = ()


NO_NETWORKS = Networks()


class Values(tuple[str, ...]):
    """One value or several."""

    __slots__ = ()


class KeySource(NamedTuple):
    """Where the provider's key is kept; never the key itself."""

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"environment variable {self.name}" if self.kind == "env" else f"file {self.name}"


def read_address(raw: object, folder: Path) -> Address:
    """HOST:PORT, with an IP address or localhost for the host, an IPv6 address in brackets."""
    del folder
    hint = "Write HOST:PORT, such as '127.0.0.1:8787' or '[::1]:8787'."
    text = _text(raw, hint)
    host, colon, port = text.rpartition(":")
    if not colon or not _is_port(port):
        raise Fault(f"{text!r} does not end in a port.", hint)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise Fault(f"{text!r} is not clear.", "Write an IPv6 address in brackets, such as '[::1]:8787'.")
    if host != "localhost":
        try:
            host = str(ip_address(host))
        except ValueError as error:
            raise Fault(f"{host!r} is not an IP address or localhost.", hint) from error
    return Address(host, int(port))


def read_base_url(raw: object, folder: Path) -> BaseUrl:
    """A scheme, a host, perhaps a port and a path. A trailing /v1 or /v1beta is taken off: the dialect brings it.

    A faulty address is never repeated: somebody may have put a key into it.
    """
    del folder
    hint = "Write it as 'https://HOST', 'https://HOST/v1' or 'http://127.0.0.1:8788'."
    text = _text(raw, hint)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Fault("This is not an address.", hint) from error
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Fault("This address holds characters that no address may.", hint)
    if "@" in parts.netloc or "?" in text or "#" in text:
        raise Fault("An address of a provider has no user, query or fragment.", "The key goes to `api_key`.")
    if parts.scheme == "http":
        return BaseUrl("http", _host(parts, hint), 80 if port is None else port, _prefix(parts.path))
    if parts.scheme == "https":
        return BaseUrl("https", _host(parts, hint), 443 if port is None else port, _prefix(parts.path))
    raise Fault("This address begins with neither http:// nor https://.", hint)


def read_webhook_url(raw: object, folder: Path) -> WebhookUrl:
    """A whole address, path and query as they will be sent. A faulty one is never repeated: it may be a secret."""
    del folder
    hint = "Write it as 'https://HOST/PATH' or 'http://127.0.0.1:9000/PATH'."
    text = _text(raw, hint)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise Fault("This is not an address.", hint) from error
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Fault("This address holds characters that no address may.", hint)
    if "@" in parts.netloc or "#" in text:
        raise Fault("An address to send to has no user and no fragment.", "A receiver knows us by the signature.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return WebhookUrl("http", _host(parts, hint), 80 if port is None else port, path)
    if parts.scheme == "https":
        return WebhookUrl("https", _host(parts, hint), 443 if port is None else port, path)
    raise Fault("This address begins with neither http:// nor https://.", hint)


def read_key_source(raw: object, folder: Path) -> KeySource:
    """env:NAME or file:PATH. The value is never repeated: somebody may have put the key itself there."""
    hint = "Write 'env:NAME' or 'file:PATH': a key never stands in this file."
    text = _text(raw, hint)
    kind, colon, name = text.partition(":")
    if kind == "env" and colon:
        if _VARIABLE.fullmatch(name) is None:
            raise Fault("What follows env: is not the name of a variable.", hint)
        return KeySource("env", name)
    if kind == "file" and colon and name and "\0" not in name:
        return KeySource("file", str(read_path(name, folder)))
    raise Fault("This says neither which variable nor which file holds the key.", hint)


def read_networks(raw: object, folder: Path) -> Networks:
    """A list of addresses and of ranges in CIDR form."""
    del folder
    hint = "Write a list such as ['10.0.0.7', '10.1.0.0/16', 'fd00::/8']."
    if not isinstance(raw, list):
        raise Fault("This must be a list.", hint)
    return Networks(_network(each, hint) for each in cast("list[object]", raw))


def read_values(raw: object, folder: Path) -> Values:
    """A list of texts; a single one may stand without brackets."""
    del folder
    items = cast("list[object]", raw) if isinstance(raw, list) else [raw]
    words = Values(_text(each, "Write one value, or a list such as ['search', 'ads'].") for each in items)
    if not words or not all(0 < len(word) <= _VALUE_LENGTH and word.isprintable() for word in words):
        raise Fault("This must be one value or more, each of at most 200 printable characters.")
    return words


def _network(raw: object, hint: str) -> IPv4Network | IPv6Network:
    text = _text(raw, hint)
    try:
        return ip_network(text)
    except ValueError as error:
        raise Fault(f"{text!r} is neither an address nor a range: {error}.", hint) from error


def read_path(raw: object, folder: Path) -> Path:
    """A path; relative ones start at the folder of the file they stand in."""
    text = _text(raw, "Write a path in quotes.")
    if not text or "\0" in text:
        raise Fault("This is not a path.")
    path = Path(text)
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise Fault("There is no such home folder.") from error
    return path if path.is_absolute() else folder / path


def _text(raw: object, hint: str) -> str:
    if not isinstance(raw, str):
        raise Fault("This must be a text in quotes.", hint)
    return raw


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= _MOST_PORT


def _host(parts: SplitResult, hint: str) -> str:
    host = parts.hostname or ""
    if ":" in host:
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise Fault("The host is not an IPv6 address.", hint) from error
    if _HOST.fullmatch(host) is None or len(host) > 253:
        raise Fault("The host is not a name or an address.", hint)
    return host.removesuffix(".")


def _prefix(path: str) -> str:
    if _PATH.fullmatch(path) is None or any(part in {".", ".."} for part in path.split("/")):
        raise Fault("The path of this address is not clear.", "Write it plainly, such as 'https://HOST/openai/v1'.")
    return path.rstrip("/").removesuffix("/v1").removesuffix("/v1beta").rstrip("/")
