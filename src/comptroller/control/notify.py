"""Receivers of notices: how they are doing, trying one, what could not be delivered, and sending that again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from comptroller.control.notice_delivery import Post, deliver_forever
from comptroller.control.notice_watch import BudgetWatch
from comptroller.control.notices import TOLD_MOST, Address, Outbox, Receiver
from comptroller.control.office import Office
from comptroller.control.problem import conflict, not_found
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.notice.event import TEST, Severity
from comptroller.core.notice.schedule import Schedule
from comptroller.core.problem import did_you_mean
from comptroller.flow.upstream import Origin
from comptroller.settings import NotifySettings

FAILED_SHOWN = 100
_RETRIED_MOST = 10_000
_HOW = "Name a receiver in comptroller.toml, under [[notify]], and start the gateway again: docs/notices.md."


@dataclass(frozen=True)
class Notifying:
    """The parts that tell people, where comptroller.toml names somebody."""

    outbox: Outbox
    post: Post
    watch: BudgetWatch


class ReceiverRow(msgspec.Struct, frozen=True):
    name: str
    url: str  # the server alone: the rest of an address may be a secret
    events: Sequence[str]
    min_severity: Severity
    scope: Mapping[str, Sequence[str]]
    state: Literal["well", "failing", "gone"]  # gone: it has said that it wants nothing more
    waiting: int
    oldest_waiting_at: str | None
    dead_letters: int
    delivered: int  # since the start, as are the next two
    failed: int  # given up
    dropped: int  # because too much waited
    last_delivered_at: str | None
    last_error: str | None  # of the last try, if that failed


class Tested(msgspec.Struct, frozen=True):
    """How one try went."""

    receiver: str
    notice: str  # the id under which it was sent
    delivered: bool
    status: int | None  # what was answered
    error: str | None
    took_ms: int


class FailedRow(msgspec.Struct, frozen=True):
    id: str
    receiver: str
    name: str
    subject: str
    at: str
    failed_at: str
    tries: int
    error: str


class Retried(msgspec.Struct, frozen=True):
    retried: int
    left: int  # dead letters that were meant and cannot be sent now


async def begin(office: Office, settings: Sequence[NotifySettings], environ: Mapping[str, str]) -> None:
    """From now on these are told, and what waited for them before the start goes on waiting."""
    gate = office.gate
    outbox = Outbox(map(_receiver_of, settings), gate.journal, gate.clock, office.process.url, gate.warn)
    now_ns = gate.clock.now_ns()
    waiting, dead = await office.ledger.waiting_notices(), await office.ledger.count_dead_letters()
    outbox.go_on(waiting, await office.ledger.told(now_ns, TOLD_MOST) if settings else (), dead)
    if settings:
        gate.notices = outbox
        office.notifying = Notifying(outbox, Post(gate, environ), BudgetWatch(gate))


async def tell_forever(office: Office) -> None:
    """Deliver what is to be told, and look for what is; until this is cancelled."""
    notifying = office.notifying
    if notifying is None:
        return
    chance = random.Random()  # noqa: S311 - it spreads tries
    async with asyncio.TaskGroup() as group:
        group.create_task(deliver_forever(office.gate, notifying.outbox, notifying.post, chance))
        group.create_task(notifying.watch.look_forever())


def _receiver_of(settings: NotifySettings) -> Receiver:
    url = settings.url
    origin = Origin(url.scheme, url.host, url.port, "", url.base.private or settings.private_network)
    return Receiver(
        settings.name,
        settings.wanted,
        Address(origin, url.path, settings.secret, settings.timeout_s),
        Schedule(int(settings.first_retry_s * NANOS_PER_SECOND), int(settings.give_up_after_s * NANOS_PER_SECOND)),
    )


def list_receivers(office: Office) -> Sequence[ReceiverRow]:
    """Every receiver, as comptroller.toml has them."""
    notifying = office.notifying
    return [] if notifying is None else [_row(each) for each in notifying.outbox.receivers.values()]


async def try_receiver(office: Office, name: str) -> Tested:
    """Send a notice to one receiver, once, whatever it wants to be told of."""
    notifying = _notifying(office)
    receiver = _receiver(notifying, name)
    outbox = notifying.outbox
    data = {"sentence": "Somebody tries whether notices arrive. Nothing has happened."}
    notice = outbox.notice(TEST, receiver.name, data, {})
    began = asyncio.get_running_loop().time()
    tried = await notifying.post.send(receiver.address, notice.id, outbox.body_of(notice))
    took_ms = round((asyncio.get_running_loop().time() - began) * 1000)
    if not tried.error:
        outbox.answers(receiver)
    return Tested(receiver.name, notice.id, not tried.error, tried.status, tried.error or None, took_ms)


async def list_failed(office: Office, limit: int = FAILED_SHOWN) -> Sequence[FailedRow]:
    """Dead letters, newest first."""
    await office.catch_up()
    return [
        FailedRow(
            each.id,
            each.receiver,
            each.name,
            each.subject,
            format_instant(each.at_ns),
            format_instant(each.failed_at_ns),
            each.tries,
            each.error,
        )
        for each in await office.ledger.dead_letters(limit)
    ]


async def retry(office: Office, receiver: str | None, notice: str | None) -> Retried:
    """Send dead letters again: all, those of one receiver, or those of one notice."""
    notifying = _notifying(office)
    if receiver is not None:
        _receiver(notifying, receiver)
    await office.catch_up()
    letters = await office.ledger.dead_letters(_RETRIED_MOST)
    meant = [each for each in letters if receiver in {None, each.receiver} and notice in {None, each.id}]
    if notice is not None and not meant:
        raise not_found(f"No dead letter has the id {notice!r}.", "`comptroller notify failed` lists them.")
    again = sum(notifying.outbox.again(each) for each in meant)
    return Retried(again, len(meant) - again)


def _notifying(office: Office) -> Notifying:
    if office.notifying is None:
        raise conflict("Nobody is told of anything: there is no receiver.", _HOW)
    return office.notifying


def _receiver(notifying: Notifying, name: str) -> Receiver:
    receivers = notifying.outbox.receivers
    if name not in receivers:
        raise not_found(f"There is no receiver {name!r}.", did_you_mean(name, receivers))
    return receivers[name]


def _row(receiver: Receiver) -> ReceiverRow:
    wanted, oldest_ns, delivered_ns = receiver.wanted, receiver.oldest_ns, receiver.delivered_at_ns
    origin = receiver.address.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return ReceiverRow(
        name=receiver.name,
        url=f"{origin.scheme}://{host}:{origin.port}",
        events=wanted.events,
        min_severity=wanted.min_severity,
        scope=wanted.scope,
        state="gone" if receiver.gone else "failing" if receiver.failures else "well",
        waiting=len(receiver.waiting),
        oldest_waiting_at=None if oldest_ns is None else format_instant(oldest_ns),
        dead_letters=receiver.dead,
        delivered=receiver.delivered,
        failed=receiver.failed,
        dropped=receiver.dropped,
        last_delivered_at=None if delivered_ns is None else format_instant(delivered_ns),
        last_error=receiver.error or None,
    )
