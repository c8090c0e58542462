"""Which gateway a command speaks to: the one beside it, found by its comptroller.toml, or one by its address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from comptroller.cli.failure import CommandError
from comptroller.cli.said import note

if TYPE_CHECKING:
    from comptroller.settings import Settings

CONFIG = "COMPTROLLER_CONFIG"
ADDRESS = "COMPTROLLER_ADDR"
URL = "COMPTROLLER_URL"
TOKEN = "COMPTROLLER_TOKEN"  # noqa: S105 - the name of a variable
TIMEOUT = "COMPTROLLER_TIMEOUT_S"
PLACES = (Path("comptroller.toml"), Path(".comptroller", "comptroller.toml"))

_ANSWER_S = 60.0


class Target(NamedTuple):
    """Where a plane of a gateway listens. `config` is None for a gateway that is known by its address only."""

    scheme: str
    host: str
    port: int
    token: str | None
    config: Path | None
    timeout_s: float
    cert: Path | None = None  # what the gateway beside us shows; None: without TLS, or as any authority vouches for

    @property
    def where(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def find_target(config: Path | None, environ: Mapping[str, str] = os.environ) -> Target:
    """The gateway that options and environment name. An option is stronger than the environment."""
    address = environ.get(ADDRESS)
    timeout_s = _timeout_s(environ.get(TIMEOUT))
    if config is None and address:
        return _by_address(address, environ.get(TOKEN), timeout_s)
    path = find_config(config, environ)
    settings = read_settings(path)
    listen, cert = settings.admin.listen, settings.admin_cert
    token = environ.get(TOKEN) or _token(settings)
    return Target("https" if cert else "http", listen.host, listen.port, token, path, timeout_s, cert)


def find_data_plane(gateway: str | None, config: Path | None, environ: Mapping[str, str] = os.environ) -> Target:
    """Where agents call the gateway: as it is named, else as the variables say, else the one beside."""
    timeout_s = _timeout_s(environ.get(TIMEOUT))
    named = (("--gateway", gateway), (URL, environ.get(URL)), (ADDRESS, environ.get(ADDRESS)))
    for name, address in named if config is None or gateway is not None else ():
        if address:
            return Target(*split_address(name, address), None, None, timeout_s)
    settings = read_settings(_config_beside(config, environ))
    listen, cert = settings.listen, settings.tls_cert
    return Target("https" if cert else "http", listen.host, listen.port, None, None, timeout_s, cert)


def _config_beside(config: Path | None, environ: Mapping[str, str]) -> Path:
    """The same, for who calls a gateway: it needs an address, and no admin credential."""
    if config is None and not environ.get(CONFIG) and not any(place.is_file() for place in PLACES):
        raise CommandError(
            "Nothing says where the gateway is.",
            f"Name it: --gateway URL or {URL}, the address that agents call, such as https://gateway.acme.example.",
        )
    return find_config(config, environ)


def find_config(config: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """The comptroller.toml to use."""
    if config is not None:
        return config
    named = environ.get(CONFIG)
    if named:
        if not Path(named).is_file():
            raise CommandError(
                f"{CONFIG} names {Path(named).absolute()}, which is no file.",
                f"Set {CONFIG} to the absolute path of a comptroller.toml, or say --config PATH.",
            )
        return Path(named)
    for place in PLACES:
        if place.is_file():
            return place
    raise CommandError(
        f"There is no {' or '.join(str(place) for place in PLACES)} here.",
        f"Say where it is with --config PATH or {CONFIG}, set {ADDRESS} and {TOKEN} for a gateway elsewhere, "
        "or start a sample with `comptroller demo`.",
    )


def read_settings(path: Path) -> Settings:
    """The settings of a file."""
    from comptroller.settings import SettingsError, load_settings

    try:
        return load_settings(path)
    except SettingsError as error:
        first, *details = str(error).splitlines()
        raise CommandError(first, "", [line.strip() for line in details]) from error


def _token(settings: Settings) -> str | None:
    """The admin credential of the state folder; None while no gateway was ever started there."""
    from comptroller.store.admin_token import FILE_NAME, read_admin_token
    from comptroller.store.secret_file import SecretFileError

    if not (settings.state / FILE_NAME).exists():
        return None
    try:
        return read_admin_token(settings.state)
    except (SecretFileError, OSError) as error:
        raise CommandError(f"The admin credential cannot be read: {error}") from error


def _timeout_s(text: str | None) -> float:
    """How long to wait for an answer. `apply` may read a month of calls for a new budget."""
    if not text:
        return _ANSWER_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise CommandError(f"{TIMEOUT} is {text!r}.", "Write a number of seconds, such as 60.")
    return seconds


def _by_address(address: str, token: str | None, timeout_s: float) -> Target:
    scheme, host, port = split_address(ADDRESS, address, default_port=False)
    if not token:
        raise CommandError(
            f"{ADDRESS} is set and {TOKEN} is not.",
            f"Set {TOKEN} to your admin credential: `comptroller admins add NAME --role ROLE` makes one.",
        )
    return Target(scheme, host, port, token, None, timeout_s)


def split_address(name: str, address: str, *, default_port: bool = True) -> tuple[str, str, int]:
    """Scheme, host and port of an address. `name`: what holds it, for the error."""
    parts = urlsplit(address if "//" in address else f"http://{address}")
    try:
        port = parts.port or ({"http": 80, "https": 443}.get(parts.scheme) if default_port else None)
    except ValueError:
        port = None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port is None:
        if name == ADDRESS:
            raise CommandError(f"{ADDRESS} is {address!r}.", "Write it as http://HOST:PORT, the admin plane's.")
        raise CommandError(f"{name} is {address!r}.", "Write it as https://HOST or http://HOST:PORT.")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        note(f"{name} is plain http: whatever is sent to {parts.hostname} travels in the clear, credentials too.")
    return parts.scheme, parts.hostname, port


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
