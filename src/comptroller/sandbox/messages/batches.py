"""Message Batches: making, reading, listing, cancelling and deleting them, and what came of their requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from comptroller.sandbox.batch import Batch, Batches, Result, Task, arrival_of, due_s, make_whole, rfc3339
from comptroller.sandbox.bill import Line
from comptroller.sandbox.errors import ApiError, Refusal, invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.messages.errors import error_body
from comptroller.sandbox.messages.surface import MessagesSurface, check_version, read_order
from comptroller.sandbox.prompt import PromptCache
from comptroller.sandbox.single import Job, Made

PREFIX = "msgbatch_"
_PATH = "/messages/batches"
_ACTS: Mapping[str, Mapping[str, str]] = {
    "": {"GET": "read", "DELETE": "delete"},
    "cancel": {"POST": "cancel"},
    "results": {"GET": "results"},
}
_LINES = b"application/x-jsonl"


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Body(msgspec.Struct):
    requests: list[_Request]


def batch_acts(path: str) -> Mapping[str, tuple[str, str]]:
    """By method, what is done to which batch on a path; nothing if it is a path of something else."""
    if path == _PATH:
        return {"POST": ("create", ""), "GET": ("list", "")}
    if not path.startswith(_PATH + "/"):
        return {}
    name, _, below = path.removeprefix(_PATH + "/").partition("/")
    return {method: (act, name) for method, act in _ACTS.get(below, {}).items()}


class BatchesSurface:
    """One act on batches, or on one of them."""

    name = "message_batches"
    no_key = MessagesSurface.no_key
    wrong_key = MessagesSurface.wrong_key
    key = MessagesSurface.key
    error = MessagesSurface.error

    def __init__(self, batches: Batches, cache: PromptCache, usual_tokens: int, act: str, name: str) -> None:
        self._batches = batches
        self._cache = cache
        self._usual = usual_tokens
        self._act = act
        self._name = name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not made, 400 for what cannot be done now)."""
        check_version(headers)
        key = MessagesSurface().key(headers) or ""
        if self._act == "create":
            tasks = [self._task(each) for each in _requests(body)]
            arrival = arrival_of(headers, "batched_messages")
            about: dict[str, object] = {"at": f"http://{headers.get(b'host', b'').decode('latin-1')}"}
            return _job(lambda: _said(self._batches.start(PREFIX, key, arrival, tasks, about)))
        if self._act == "list":
            return _job(lambda: _page(self._batches.of(key, PREFIX)))
        batch = self._batches.find(key, self._name)
        if batch is None:
            raise not_found("batch: there is no such batch.")
        return self._of_one(batch)

    def _of_one(self, batch: Batch) -> Job:
        match self._act:
            case "cancel":
                return _job(lambda: self._cancelled(batch))
            case "delete" if batch.ended_at is None:
                raise invalid("A batch can only be deleted once it has ended.")
            case "delete":
                return _job(lambda: self._deleted(batch))
            case "results" if batch.ended_at is None:
                raise not_found("batch: its results are not available yet.")
            case "results":
                return Job("", Control(), lambda _: Made(lines := _results(batch), lines, content_type=_LINES))
            case _:
                return _job(lambda: _said(batch))

    def _cancelled(self, batch: Batch) -> dict[str, object]:
        self._batches.cancel(batch)
        return _said(batch)

    def _deleted(self, batch: Batch) -> dict[str, object]:
        self._batches.forget(batch)
        return {"id": batch.id, "type": "message_batch_deleted"}

    def _task(self, request: _Request) -> Task:
        """One request. What is wrong with it is found out when it is due, as Anthropic does."""
        params = bytes(request.params)

        def make(line: Line) -> bytes:
            return make_whole(MessagesSurface(), read_order(params), line, self._cache, self._usual)

        try:
            return Task(request.custom_id, due_s(read_order(params)), make)
        except ApiError:
            return Task(request.custom_id, 0.0, make)


def _job(say: Callable[[], dict[str, object]]) -> Job:
    def made(_: float) -> Made:
        said = msgspec.json.encode(say())
        return Made(said, said)

    return Job("", Control(), made)


def _requests(body: bytes) -> list[_Request]:
    try:
        requests = msgspec.json.decode(body, type=_Body).requests
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid("requests: Field required, an array of {custom_id, params}", param="requests") from None
    if not requests:
        raise invalid("requests: at least one is needed", param="requests")
    if len({each.custom_id for each in requests}) < len(requests):
        raise invalid("requests: each custom_id must be unique", param="requests")
    return requests


def _said(batch: Batch) -> dict[str, object]:
    ended, cancelled = batch.ended_at, batch.cancelled_at
    counts = {
        "processing": 0 if ended is not None else len(batch.tasks),
        "succeeded": 0 if ended is None else batch.count("succeeded"),
        "errored": 0 if ended is None else batch.count("errored"),
        "canceled": 0 if ended is None else batch.count("canceled"),
        "expired": 0 if ended is None else batch.count("expired"),
    }
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": "ended" if ended is not None else "canceling" if cancelled is not None else "in_progress",
        "request_counts": counts,
        "created_at": rfc3339(batch.created_at),
        "expires_at": rfc3339(batch.expires_at),
        "ended_at": None if ended is None else rfc3339(ended),
        "cancel_initiated_at": None if cancelled is None else rfc3339(cancelled),
        "archived_at": None,
        # As Anthropic does, a whole address: whoever follows it as it stands goes past every gateway.
        "results_url": None if ended is None else f"{batch.about['at']}/v1/messages/batches/{batch.id}/results",
    }


def _page(batches: list[Batch]) -> dict[str, object]:
    data = [_said(batch) for batch in batches]
    first, last = (batches[0].id, batches[-1].id) if batches else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def _results(batch: Batch) -> bytes:
    return b"".join(_lines(batch))


def _lines(batch: Batch) -> Iterator[bytes]:
    for name, result in batch.results.items():
        yield msgspec.json.encode({"custom_id": name, "result": _result(result)}) + b"\n"


def _result(result: Result) -> dict[str, object]:
    if result.end == "succeeded":
        return {"type": result.end, "message": msgspec.Raw(result.body)}
    if result.end == "errored":
        refusal = result.refusal or Refusal(500, "Internal server error")
        return {"type": result.end, "error": msgspec.Raw(error_body(refusal, ""))}
    return {"type": result.end}
