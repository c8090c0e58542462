"""What the gateway refuses although the mock server takes it, and why: all that may differ between the two runs."""

from tests.suites.outcome import Design

_NOT_SERVED = "the gateway has no such route: what it cannot bound, police and charge has no way through it"
_NONSENSE = "the tests send 0 where the API takes 1 at the least, which bounds nothing"
_PAGE = "lists are made from the gateway's own records, and the tests go on after an id that is not in them"
_UNNAMED = "no model is named, so nobody can say what it may be and what it costs; the API reference says to name one"

DESIGNS = (
    Design("route_unknown", "*", _NOT_SERVED),
    Design("method_not_allowed", "* /v1/chat/completions*", _NOT_SERVED),
    Design("method_not_allowed", "* /v1/models/*", _NOT_SERVED),
    Design("method_not_allowed", "POST /v1/responses/*", _NOT_SERVED),
    Design("request_invalid", "POST /v1/chat/completions", _NONSENSE, "whole number from 1"),
    Design("request_invalid", "POST /v1/completions", _NONSENSE, "whole number from 1"),
    Design("request_invalid", "GET /v1/files", _NONSENSE, "whole number from 1"),
    Design("request_invalid", "GET /v1/batches", _NONSENSE, "whole number from 1"),
    Design("request_invalid", "GET /v1/messages/batches", _PAGE, "is in this list"),
    Design("request_invalid", "GET /v1/files", _PAGE, "is in this list"),
    Design("object_not_found", "* /v1/batches/*", "the tests call a file and a batch by one id, and the file is there"),
    Design("object_busy", "DELETE /v1/messages/batches/*", "what it costs is not known before the provider ends it"),
    Design("request_invalid", "POST /v1/responses", _UNNAMED, "has no `model`"),
    Design("request_invalid", "POST /v1/images/*", _UNNAMED, "has no `model`"),
    Design("object_unknown", "POST /v1/responses", "whose a stored prompt is, no record says", "`prompt` names"),
    Design(
        "unsupported",
        "POST /v1/messages/batches",
        "lines of a batch carry all that they need",
        "stored at the provider",
    ),
    Design("object_unknown", "POST /v1/messages", "whose a container is, no record says", "names no container"),
    Design(
        "object_not_found", "DELETE *", "the tests delete the same object again and again: it is gone after the first"
    ),
    Design("estimate_unbounded", "POST *", "under a budget in USD or tokens: nothing bounds what it can cost"),
)
