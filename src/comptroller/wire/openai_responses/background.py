"""Responses in the background: where to ask for one that the provider goes on with, and how to read what it says.

Source: the OpenAI API reference (responses: retrieve, cancel; `status` of a response).
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.pricing.deferral import DeferredEnd, Ended, Line, Pending, Report
from comptroller.core.pricing.terms import Terms
from comptroller.wire.lines import NoResults
from comptroller.wire.openai_responses.answer import read_answer

_ENDS: Mapping[str | None, DeferredEnd] = {
    "completed": "completed",
    "incomplete": "completed",  # at its output limit, or by a filter: it is billed like any other
    "cancelled": "cancelled",
    "failed": "provider_error",
}


class BackgroundResponses:
    """Deferred work of `openai_responses`."""

    family = "openai"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    lasts_s = 86_400  # it says nothing of how long one may take; a deep search is known to take an hour
    first_poll_s = 2.0
    most_poll_s = 30.0

    def poll_path(self, object_id: str) -> str:
        """The response itself."""
        return f"/v1/responses/{object_id}"

    def cancel_path(self, object_id: str) -> str | None:
        """Cancelling one twice is allowed: it answers with the response as it stands."""
        return f"/v1/responses/{object_id}/cancel"

    def read_report(self, body: bytes, terms: Mapping[str, Terms]) -> Report | None:
        """One line, of the whole response. A response that is not stored under an id, or has no status, is none."""
        answer = read_answer(body, any(each.long_cache_writes for each in terms.values()))
        if answer.malformed or answer.object_id is None:
            return None
        if answer.pending:
            return Pending()
        outcome = _ENDS.get(answer.status)
        if outcome is None:
            return None
        lines = () if answer.usage is None else (Line(next(iter(terms), ""), answer.usage),)
        return Ended(outcome, lines, served_model=answer.served_model, items=answer.items)

    def results(self, terms: Mapping[str, Terms]) -> NoResults:
        """A response is its own result."""
        return NoResults()
