"""What leaves: a CloudEvents body, and the headers by which a receiver knows that it is ours.

The body is a CloudEvent 1.0 in structured JSON mode. The headers are those of Standard Webhooks 1.0: the signature is
HMAC-SHA256 over `id.timestamp.body`, the secret is written `whsec_` and base64.
"""

from __future__ import annotations

import base64
import binascii
import hmac

import msgspec

from comptroller.core.instant import format_instant
from comptroller.core.notice.event import Notice
from comptroller.core.problem import Fault

CONTENT_TYPE = b"application/cloudevents+json; charset=utf-8"
TYPE_PREFIX = "comptroller."
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
_LEAST_BYTES, _MOST_BYTES = 24, 64  # by the specification: 192 to 512 bits

Headers = tuple[tuple[bytes, bytes], ...]


def cloud_event(notice: Notice, source: str) -> bytes:
    """The body. `source`: the gateway, as it is known. Sent and signed as these bytes, however often it is tried."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": notice.id,
            "source": source,
            "type": TYPE_PREFIX + notice.name,
            "subject": notice.subject,
            "time": format_instant(notice.at_ns),
            "severity": notice.severity,
            "datacontenttype": "application/json",
            "data": {**notice.data, "about": notice.about} if notice.about else notice.data,
        }
    )


def read_secret(written: bytes) -> bytes:
    """The key in a secret. Raises Fault, which repeats nothing of it."""
    hint = "Make one: printf 'whsec_%s\\n' \"$(openssl rand -base64 32)\""
    text = written.decode("ascii", "replace")
    if not text.startswith(SECRET_PREFIX):
        raise Fault(f"It does not begin with {SECRET_PREFIX}", hint)
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise Fault(f"What follows {SECRET_PREFIX} is not base64", hint) from None
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise Fault(f"It has {len(key)} bytes, and not {_LEAST_BYTES} to {_MOST_BYTES}", hint)
    return key


def headers(key: bytes, notice_id: str, at_s: int, body: bytes) -> Headers:
    """Those of one try. `at_s`: when it is made, in seconds; a receiver refuses what is minutes old."""
    signed = b"%s.%d.%s" % (notice_id.encode(), at_s, body)
    signature = base64.b64encode(hmac.digest(key, signed, "sha256"))
    return (
        (b"content-type", CONTENT_TYPE),
        (b"webhook-id", notice_id.encode()),
        (b"webhook-timestamp", str(at_s).encode()),
        (b"webhook-signature", b"v1," + signature),
    )
