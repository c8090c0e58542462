"""The routes of the admin plane that are about notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from comptroller.control import notify
from comptroller.control.office import Office
from comptroller.control.requests import LimitQuery
from comptroller.control.route import Asked, NoQuery, Plain, Route, Sent


class RetryNoticesRequest(Sent, frozen=True):
    """Which dead letters are sent again. Nothing: all."""

    receiver: Annotated[str, Meta(description="Those of this receiver.")] | None = None
    notice: Annotated[str, Meta(description="Those of this notice, by its id.")] | None = None


async def _receivers(office: Office, asked: Plain) -> Sequence[notify.ReceiverRow]:
    """Who is told of what, what waits for them, and how they are doing."""
    return notify.list_receivers(office)


async def _test_receiver(office: Office, asked: Plain) -> notify.Tested:
    """Send a notice to one receiver, once, and say how that went."""
    return await notify.try_receiver(office, asked.path["receiver"])


async def _failed_notices(office: Office, asked: Asked[LimitQuery, None]) -> Sequence[notify.FailedRow]:
    """Notices that could not be delivered and were given up, newest first."""
    return await notify.list_failed(office, asked.query.limit)


async def _retry_notices(office: Office, asked: Asked[NoQuery, RetryNoticesRequest]) -> notify.Retried:
    """Send notices again that were given up."""
    return await notify.retry(office, asked.body.receiver, asked.body.notice)


ROUTES: Sequence[Route] = (
    Route("GET", "/notify", "viewer", _receivers),
    Route("POST", "/notify/{receiver}/test", "operator", _test_receiver, problems=(404, 409)),
    Route("GET", "/notify/failed", "viewer", _failed_notices),
    Route("POST", "/notify/retry", "operator", _retry_notices, problems=(404, 409)),
)
