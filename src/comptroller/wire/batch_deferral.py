"""Batches as deferred work: where each API is asked for one, and who reads what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from comptroller.core.pricing.deferral import Report
from comptroller.core.pricing.terms import Terms
from comptroller.wire.lines import LineReader


class BatchDeferral:
    """The batches of one API.

    `path`: before the id. `cancel`: after it. `read_report`: None for what is no report. `results`: a reader of
    results that are fetched by themselves, for what they are charged by. `lasts_s`: by then it has ended by itself.
    """

    first_poll_s = 5.0
    most_poll_s = 300.0

    def __init__(
        self,
        family: str,
        path: str,
        *,
        cancel: str,
        lasts_s: int,
        read_report: Callable[[bytes], Report | None],
        results: Callable[[Mapping[str, Terms]], LineReader],
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.family = family
        self.headers = headers
        self.lasts_s = lasts_s
        self._path = path
        self._cancel = cancel
        self._read_report = read_report
        self._results = results

    def poll_path(self, object_id: str) -> str:
        """The batch itself."""
        return f"{self._path}{object_id}"

    def cancel_path(self, object_id: str) -> str | None:
        """Cancelling one that has ended is refused, or does nothing."""
        return f"{self._path}{object_id}{self._cancel}"

    def read_report(self, body: bytes, terms: Mapping[str, Terms]) -> Report | None:
        """How far it is."""
        return self._read_report(body)

    def results(self, terms: Mapping[str, Terms]) -> LineReader:
        """Raises ValueError for what is no result."""
        return self._results(terms)
