"""The admin plane over HTTP: `/api/v1/...`, JSON in and out, for the CLI and the console."""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp

from comptroller.control.interfaces import AdminCredential
from comptroller.control.office import Office


def build(office: Office, admin: AdminCredential, own_hosts: Collection[str] = ()) -> ASGIApp:
    """The ASGI app of the admin plane.

    `own_hosts`: names and addresses, beside loopback ones, under which it may be addressed (the admin listen host).
    """
    raise NotImplementedError
