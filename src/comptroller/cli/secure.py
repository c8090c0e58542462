"""The command's TLS to the admin plane: the gateway beside it by its very certificate, others as authorities vouch."""

from __future__ import annotations

import http.client
import re
import ssl
from pathlib import Path

from comptroller.cli.failure import CommandError
from comptroller.cli.target import Target

_FIRST = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def connection_to(target: Target) -> http.client.HTTPConnection:
    """Not yet connected. Where `target.cert` is known, `check_certificate` comes before anything is sent."""
    if target.scheme == "http":
        return http.client.HTTPConnection(target.host, target.port, timeout=target.timeout_s)
    context = ssl.create_default_context()
    if target.cert is not None:
        # Its name is that of the public, hardly 127.0.0.1; and nobody needs to vouch for a file of our own.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(target.host, target.port, timeout=target.timeout_s, context=context)


def check_certificate(connection: http.client.HTTPConnection, cert: Path) -> None:
    """Raise CommandError unless the gateway shows the certificate of this file."""
    try:
        found = _FIRST.search(cert.read_text(encoding="utf-8", errors="replace"))
        own = ssl.PEM_cert_to_DER_cert(found[0]) if found else None
    except (OSError, ValueError) as error:
        raise CommandError(f"The certificate {cert} cannot be read: {error}.", "Who may steer may read it.") from error
    shown = connection.sock.getpeercert(binary_form=True) if isinstance(connection.sock, ssl.SSLSocket) else None
    if own is None or shown != own:
        raise CommandError(
            f"What listens on {connection.host} port {connection.port} does not show the certificate in {cert}.",
            "Was the file just renewed? The gateway reads it within a minute, and at once on SIGHUP.",
        )
