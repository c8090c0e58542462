"""Every event that a log line can tell of, how grave it is, and what it says. docs/observability.md has them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["info", "warning", "error"]

SEVERITIES: Mapping[Severity, tuple[int, str]] = {  # rank, and the text that OpenTelemetry has for it
    "info": (0, "INFO"),
    "warning": (1, "WARN"),
    "error": (2, "ERROR"),
}


@dataclass(frozen=True)
class Event:
    severity: Severity
    says: str


EVENTS: Mapping[str, Event] = {
    "started": Event("info", "The gateway takes calls."),
    "stopped": Event("info", "It has drained and closed its store."),
    "call": Event("info", "A call that took a hold has ended; a warning if the provider failed, an error if we did."),
    "refused": Event("info", "A request was refused before anything was held."),
    "exchange_refused": Event("warning", "Somebody asked /oauth/token for a credential and got none; it says why."),
    "identity_requested": Event("info", "Somebody without an identity has asked for one: an approver decides."),
    "approval_requested": Event("info", "A call has asked for an approval: its role answers the ticket."),
    "approval_escalated": Event("warning", "Nobody answered a ticket in time: the next role is asked."),
    "approval_decided": Event("info", "A ticket was approved, denied or withdrawn, or nobody is left to ask."),
    "grant_ended": Event("info", "A grant is used up or expired."),
    "issuer_unavailable": Event(
        "warning", "The keys of an issuer cannot be had: its tokens open nothing. It says why."
    ),
    "recovered": Event("warning", "A dead process had left holds open; they are charged as presumed."),
    "drained": Event("warning", "The gateway stops and could not wait any longer: calls were cut and charged."),
    "provider": Event("warning", "Something about a provider's settings or key."),
    "provider_aside": Event("warning", "A provider failed, or told us to wait: calls go to others first until then."),
    "provider_back": Event("info", "A provider that was aside answers again."),
    "circuit_open": Event("warning", "A provider has failed many times in a row: calls are refused until then."),
    "circuit_closed": Event("info", "A provider whose calls were refused answers again."),
    "price_not_had": Event("warning", "A call was refused: what it costs is for the owner of its MCP server to say."),
    "server_started": Event("info", "A process of an MCP server was started."),
    "server_ended": Event("info", "A process of an MCP server was ended by us, as it says why."),
    "server_failed": Event("warning", "A process of an MCP server ended by itself, or had to be killed. It says why."),
    "server_said": Event("info", "An MCP server that we run wrote this to its standard error."),
    "server_garbled": Event("warning", "An MCP server that we run wrote what is no message to its standard output."),
    "relay_failed": Event("warning", "An MCP server did not answer what costs nothing: a list, a ping, a stream."),
    "metrics": Event("warning", "Something about the scrape token."),
    "certificate_read": Event("info", "A new certificate is served from now on."),
    "certificate_refused": Event("warning", "A new certificate cannot be served: the last one stays."),
    "certificate_ends": Event("warning", "A certificate ends within 14 days; said once a day."),
    "traces": Event("warning", "Spans could not be delivered; they are lost, calls are not."),
    "books_behind": Event("warning", "The store cannot be written, so what an operator sees may be old."),
    "inputs_uncounted": Event(
        "warning",
        "Context caps are in force, and what open sessions sent before cannot be read: it counts from now on.",
    ),
    "admin_guessed": Event("warning", "Too many wrong admin credentials came from one address: it is told to wait."),
    "records_pruned": Event("info", "Records that were older than `[retention]` says were deleted."),
    "retention_waits": Event("warning", "The store cannot be written, so old records stay for another hour."),
    "notice_failed": Event("warning", "A notice could not be delivered and was given up; it waits as a dead letter."),
    "notice_dropped": Event("warning", "Too many notices wait for a receiver: a new one was dropped for it."),
    "library": Event("warning", "What a library had to say: the HTTP server, mostly."),
    "ledger_unavailable": Event("error", "A hold could not be written to disk, so its call was refused."),
    "journal_unwritten": Event(
        "error", "The gateway stopped and could not write everything; it is presumed at the next start."
    ),
    "fault": Event("error", "A bug of ours stopped a call. The line says where."),
    "control_fault": Event("error", "A bug of ours stopped a request of an operator. The line says where."),
    "caller_fault": Event(
        "error", "A bug of ours stopped a request of a caller that was no call. The line says where."
    ),
    "loop_fault": Event("error", "A bug of ours beside any request. The line says where."),
}
