"""Batches of the Gemini API: making, reading, listing, cancelling and deleting them. Results stand in the batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from comptroller.sandbox.batch import Batch, Batches, Result, Task, arrival_of, due_s, make_whole, rfc3339
from comptroller.sandbox.bill import Line
from comptroller.sandbox.errors import ApiError, Refusal, invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.gemini.errors import error_body
from comptroller.sandbox.gemini.surface import GeminiSpoken, GeminiSurface
from comptroller.sandbox.prices import find_model
from comptroller.sandbox.prompt import PromptCache
from comptroller.sandbox.single import Job, Made

PREFIX = "gbatch-"
_PATH = "/batches"
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


class _Request(msgspec.Struct):
    request: msgspec.Raw
    metadata: Any = None


class _Requests(msgspec.Struct):
    requests: list[_Request]


class _Input(msgspec.Struct):
    requests: _Requests


class _Asked(msgspec.Struct, rename="camel"):
    input_config: _Input
    display_name: str = ""


class _Body(msgspec.Struct):
    batch: _Asked


def batch_acts(path: str) -> Mapping[str, tuple[str, str]]:
    """By method, what is done to which batch on a path; nothing if it is a path of something else."""
    if path == _PATH:
        return {"GET": ("list", "")}
    if not path.startswith(_PATH + "/"):
        return {}
    name, _, method = path.removeprefix(_PATH + "/").partition(":")
    if method:
        return {"POST": ("cancel", name)} if method == "cancel" else {}
    return {"GET": ("read", name), "DELETE": ("delete", name)}


class BatchesSurface(GeminiSpoken):
    """One act on batches, or on one of them. `name`: of the batch, or of the model that one is made for."""

    name = "gemini_batches"

    def __init__(self, batches: Batches, cache: PromptCache, usual_tokens: int, act: str, name: str) -> None:
        self._batches = batches
        self._cache = cache
        self._usual = usual_tokens
        self._act = act
        self._name = name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not made)."""
        key = self.key(headers) or ""
        if self._act == "create":
            asked = _read(self._name, body)
            tasks = [self._task(number, each) for number, each in enumerate(asked.input_config.requests.requests)]
            arrival = arrival_of(headers, "batched_gemini")
            about: dict[str, object] = {
                "model": f"models/{self._name}",
                "displayName": asked.display_name,
                "metadata": [each.metadata for each in asked.input_config.requests.requests],
            }
            return _job(lambda: _said(self._batches.start(PREFIX, key, arrival, tasks, about)))
        if self._act == "list":
            return _job(lambda: {"operations": [_said(batch) for batch in self._batches.of(key, PREFIX)]})
        batch = self._batches.find(key, self._name)
        if batch is None:
            raise not_found("Requested entity was not found.")
        return _job(lambda: self._of_one(batch))

    def _of_one(self, batch: Batch) -> dict[str, object]:
        match self._act:
            case "cancel":
                self._batches.cancel(batch)
                return {}
            case "delete":
                self._batches.forget(batch)
                return {}
            case _:
                return _said(batch)

    def _task(self, number: int, request: _Request) -> Task:
        surface, body = GeminiSurface(self._name, stream=False), bytes(request.request)

        def make(line: Line) -> bytes:
            return make_whole(surface, surface.read({}, body), line, self._cache, self._usual)

        try:
            return Task(str(number), due_s(surface.read({}, body)), make)
        except ApiError:
            return Task(str(number), 0.0, make)


def _job(say: Callable[[], dict[str, object]]) -> Job:
    def made(_: float) -> Made:
        said = msgspec.json.encode(say())
        return Made(said, said)

    return Job("", Control(), made)


def _read(model_name: str, body: bytes) -> _Asked:
    if find_model(model_name) is None:
        raise not_found(f"models/{model_name} is not found for API version v1beta.")
    try:
        asked = msgspec.json.decode(body, type=_Body).batch
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid("batch.input_config.requests: a list of requests is needed") from None
    if not asked.input_config.requests.requests:
        raise invalid("batch.input_config.requests: at least one is needed")
    return asked


def _said(batch: Batch) -> dict[str, object]:
    ended = batch.ended_at
    made = batch.count("succeeded")
    stats = {"requestCount": str(len(batch.tasks))}
    if ended is not None:
        stats |= {"successfulRequestCount": str(made), "failedRequestCount": str(len(batch.tasks) - made)}
    else:
        stats |= {"pendingRequestCount": str(len(batch.tasks))}
    metadata: dict[str, object] = {
        "@type": _TYPE,
        "model": batch.about["model"],
        "displayName": batch.about["displayName"],
        "createTime": rfc3339(batch.created_at),
        "updateTime": rfc3339(ended or batch.created_at),
        "batchStats": stats,
        "state": f"BATCH_STATE_{_state(batch)}",
        "name": f"batches/{batch.id}",
    }
    if ended is not None:
        metadata |= {"endTime": rfc3339(ended)}
        if _state(batch) != "EXPIRED":
            metadata["output"] = {"inlinedResponses": {"inlinedResponses": _responses(batch)}}
    return {"name": f"batches/{batch.id}", "metadata": metadata, "done": ended is not None}


def _state(batch: Batch) -> str:
    if batch.ended_at is None:
        return "RUNNING"
    if batch.count("canceled"):
        return "CANCELLED"
    return "EXPIRED" if batch.count("expired") == len(batch.tasks) else "SUCCEEDED"


def _responses(batch: Batch) -> list[dict[str, object]]:
    """In the order of the requests."""
    kept = cast("list[Any]", batch.about["metadata"])
    return [
        _response(batch.results[task.name]) | ({"metadata": given} if given is not None else {})
        for task, given in zip(batch.tasks, kept, strict=True)
    ]


def _response(result: Result) -> dict[str, object]:
    if result.end == "succeeded":
        return {"response": msgspec.Raw(result.body)}
    refusal = result.refusal or Refusal(499, f"The request was {result.end}.")
    return {"error": msgspec.json.decode(error_body(refusal))["error"]}
