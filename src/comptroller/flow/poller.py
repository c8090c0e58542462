"""The poller: asks providers for the deferred work of this process, until each piece is seen to end.

A few are asked at once, each the less often the longer it goes on, and still less often while its provider says nothing
of use. What is asked is free, leaves through the one egress with the provider's own key, and goes on whatever is
suspended: it is how we learn what was spent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.deferral import Charged, Ended, Report
from comptroller.flow.deferred import Work, presume, settle_deferred
from comptroller.flow.dialect import Deferring
from comptroller.flow.fault import fault_facts
from comptroller.flow.gate import Gate, Provider
from comptroller.flow.incoming import beside
from comptroller.flow.signal import said_wait_ns
from comptroller.flow.upstream import Exchange, Timeouts, UpstreamFailure, UpstreamRequest

AT_ONCE = 8
GROWS = 1.5  # by this much a piece is asked for later each time
FAILED_FIRST_S = 2.0
FAILED_MOST_S = 300.0
GONE_S = 900  # a provider that has said for so long that it has no such thing will not find it again
CANCELLED_POLL_S = 1.0  # how soon after a cancel its end is asked for

_JITTER = 0.2
_TIMEOUTS = Timeouts(connect_s=10.0, first_byte_s=60.0, idle_s=60.0, total_s=600.0)
_GONE = frozenset({404, 410})
_FINAL = frozenset({400, 404, 405, 409, 410, 422})


class NoReportError(Exception):
    """The provider said nothing of use, with this status, if it answered at all."""

    def __init__(self, why: str, status: int | None = None, wait_ns: int = 0) -> None:
        super().__init__(why)
        self.status = status
        self.wait_ns = wait_ns

    @property
    def gone(self) -> bool:
        """It says that there is no such thing."""
        return self.status in _GONE

    @property
    def final(self) -> bool:
        """It would say the same again."""
        return self.status in _FINAL


class Poller:
    """One process's. `run` goes on for as long as that lives."""

    def __init__(self, gate: Gate, chance: random.Random) -> None:
        self._gate = gate
        self._chance = chance
        self._woken = asyncio.Event()
        self._asking: set[str] = set()  # holds
        self._tasks: set[asyncio.Task[None]] = set()
        gate.wake_poller = self._woken.set

    async def run(self) -> None:
        """Ask for whatever is due, and wait until something is. When this is cancelled, so is what is being asked."""
        try:
            while True:
                self._woken.clear()
                for work in self.due(self._gate.clock.now_ns())[: AT_ONCE - len(self._asking)]:
                    self._begin(work)
                try:
                    async with asyncio.timeout(self._wait_s()):
                        await self._woken.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks:
                task.cancel()

    def due(self, now_ns: int) -> list[Work]:
        """What is to be asked for now, the one that has waited longest first."""
        found = [work for work in self._works() if work.next_ns <= now_ns and work.hold_id not in self._asking]
        return sorted(found, key=lambda work: work.next_ns)

    async def ask(self, work: Work) -> None:
        """Ask for one piece: settle it if it has ended, else say when it is asked for next. Nothing is raised."""
        try:
            report = await self._report(work)
            if work.over:
                return  # whoever asked meanwhile has seen its end
            if isinstance(report, Ended):
                await self._settle(work, report)
            else:
                self._later(work)
        except (NoReportError, UpstreamFailure) as error:
            self._failed(work, error)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one piece, the others are asked for
            self._gate.warn("loop_fault", {"comptroller.call.id": work.call_id, **fault_facts(error)})
            self._failed(work, error)

    def _works(self) -> Iterable[Work]:
        return (work for work in self._gate.live.deferred if isinstance(work, Work))

    def _begin(self, work: Work) -> None:
        self._asking.add(work.hold_id)
        task = asyncio.create_task(self._ask_once(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_once(self, work: Work) -> None:
        try:
            await self.ask(work)
        finally:
            self._asking.discard(work.hold_id)
            self._woken.set()

    def _wait_s(self) -> float | None:
        """Until something is due; None: until somebody says so."""
        if len(self._asking) >= AT_ONCE:
            return None
        waiting = [work.next_ns for work in self._works() if work.hold_id not in self._asking]
        if not waiting:
            return None
        return max(0.0, (min(waiting) - self._gate.clock.now_ns()) / NANOS_PER_SECOND)

    async def _report(self, work: Work) -> Report:
        """What the provider says of it now. Raises NoReportError and UpstreamFailure."""
        deferring, provider = self._whom(work)
        if work.stopped and not work.cancel_sent:
            cancelled = await self._cancel(work, deferring, provider)
            if cancelled is not None:
                return cancelled
        return await self._fetch(work, deferring, provider, deferring.poll_path(work.object_id), "GET")

    def _whom(self, work: Work) -> tuple[Deferring, Provider]:
        provider, deferring = self._gate.providers.get(work.held.facts.provider or ""), work.deferring
        if deferring is None:
            raise NoReportError(f"nothing here reads the dialect {work.held.facts.dialect}")
        if provider is None or provider.missing is not None:
            raise NoReportError(f"the provider {work.held.facts.provider} is not configured, or has no key")
        return deferring, provider

    async def _cancel(self, work: Work, deferring: Deferring, provider: Provider) -> Report | None:
        """Cancel it. What the provider says to that counts; a no means that there is nothing to cancel any more."""
        path = deferring.cancel_path(work.object_id)
        if path is None:
            work.cancel_sent = True
            return None
        try:
            report = await self._fetch(work, deferring, provider, path, "POST")
        except NoReportError as error:
            work.cancel_sent = error.final
            return None
        work.cancel_sent = True
        return report

    async def _fetch(self, work: Work, deferring: Deferring, provider: Provider, path: str, method: str) -> Report:
        exchange = self._open(deferring, provider, provider.path(deferring.family, path, work.deferral.sent_as), method)
        try:
            await exchange.start()
            body = await exchange.read(self._gate.limits.answer_bytes)
        finally:
            exchange.abort()
        if exchange.status != 200:
            raise self._said_no(exchange)
        report = await beside(body, deferring.read_report, body, work.deferral.terms)
        if report is None:
            raise NoReportError("it answered with something that is no report")
        return report

    def _open(self, deferring: Deferring, provider: Provider, path: str, method: str) -> Exchange:
        credential = provider.credentials.get(deferring.family)
        headers = [*deferring.headers, (b"accept-encoding", b"identity")]
        if credential is not None:
            headers.append(credential)
        request = UpstreamRequest(provider.origin, path, headers, b"", _TIMEOUTS, method)
        return self._gate.upstream.open(
            request, buffer_limit_bytes=self._gate.limits.stream_buffer_bytes, on_overflow=_nobody_waits
        )

    def _said_no(self, exchange: Exchange) -> NoReportError:
        status = exchange.status
        wait_ns = said_wait_ns(exchange.headers, self._gate.clock.expiry_ns()) or 0
        return NoReportError(f"it answered with HTTP {status}", status, wait_ns)

    async def _settle(self, work: Work, ended: Ended) -> None:
        charged = Charged(work.deferral.terms)
        for line in ended.lines:
            charged.add(line)
        deferring, provider = self._whom(work)
        for path in ended.results:
            await self._read_results(work, deferring, provider, path, charged)
        if not work.over:
            settle_deferred(self._gate, work, ended, charged)

    async def _read_results(
        self, work: Work, deferring: Deferring, provider: Provider, path: str, charged: Charged
    ) -> None:
        exchange = self._open(deferring, provider, provider.path(deferring.family, path, work.deferral.sent_as), "GET")
        reader = deferring.results(work.deferral.terms)
        try:
            await exchange.start()
            if exchange.status != 200:
                raise self._said_no(exchange)
            async for chunk in exchange.chunks():
                for line in reader.feed(chunk):
                    charged.add(line)
            for line in reader.finish():
                charged.add(line)
        except ValueError as error:
            raise NoReportError("its results cannot be read") from error
        finally:
            exchange.abort()

    def _later(self, work: Work) -> None:
        """It goes on."""
        deferring = work.deferring
        work.failed, work.gone_since_ns = 0, None
        if self._gives_up(work, "it went on for longer than such work lasts"):
            return
        first_s, most_s = (deferring.first_poll_s, deferring.most_poll_s) if deferring is not None else (1.0, 1.0)
        wait_s = CANCELLED_POLL_S if work.cancel_sent and not work.asked else min(most_s, first_s * GROWS**work.asked)
        work.asked = min(work.asked + 1, 100)
        self._ask_again(work, wait_s)

    def _failed(self, work: Work, error: Exception) -> None:
        """Nothing was learned."""
        now_ns = self._gate.clock.now_ns()
        gone = isinstance(error, NoReportError) and error.gone
        work.gone_since_ns = (work.gone_since_ns or now_ns) if gone else None
        if work.gone_since_ns is not None and now_ns - work.gone_since_ns >= GONE_S * NANOS_PER_SECOND:
            presume(self._gate, work, "the provider does not have it any more")
            return
        if self._gives_up(work, f"the last time that it was asked for: {error}"):
            return
        wait_s = min(FAILED_MOST_S, FAILED_FIRST_S * 2**work.failed)
        work.failed = min(work.failed + 1, 30)
        said_ns = error.wait_ns if isinstance(error, NoReportError) else 0
        self._ask_again(work, max(wait_s, min(FAILED_MOST_S, said_ns / NANOS_PER_SECOND)))

    def _gives_up(self, work: Work, why: str) -> bool:
        if work.over or self._gate.clock.now_ns() < work.deferral.gives_up_at_ns:
            return work.over
        presume(self._gate, work, why)
        return True

    def _ask_again(self, work: Work, wait_s: float) -> None:
        jitter = 1 + self._chance.uniform(-_JITTER, _JITTER)
        work.next_ns = self._gate.clock.now_ns() + int(wait_s * jitter * NANOS_PER_SECOND)


def _nobody_waits() -> None:
    """More lies unread than a caller may leave lying: here it is read by the same turn of the loop."""
