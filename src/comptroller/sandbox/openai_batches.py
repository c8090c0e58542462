"""OpenAI batches over uploaded files: making, reading, listing and cancelling them. Results are files."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from comptroller.sandbox.batch import TIER, Batch, Batches, Result, Task, arrival_of, due_s, make_whole
from comptroller.sandbox.bill import Line
from comptroller.sandbox.chat.surface import ChatSurface, bearer_key
from comptroller.sandbox.completions import CompletionsSurface
from comptroller.sandbox.embeddings import EmbeddingsSurface
from comptroller.sandbox.errors import ApiError, Refusal, invalid, not_found
from comptroller.sandbox.faults import Control, refusal_of
from comptroller.sandbox.files import File, Files
from comptroller.sandbox.prompt import PromptCache
from comptroller.sandbox.responses.stored import Stored
from comptroller.sandbox.responses.surface import ResponsesSurface
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.surface import Surface
from comptroller.sandbox.wire import Headers

PREFIX = "batch_"
_PATH = "/batches"
_EMBEDDINGS = "/v1/embeddings"
_SURFACES: Mapping[str, Callable[[Files], Surface]] = {
    "/v1/chat/completions": lambda _: ChatSurface(),
    "/v1/completions": lambda _: CompletionsSurface(),
    "/v1/responses": lambda files: ResponsesSurface(Stored(), files),
}


class _Body(msgspec.Struct):
    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Any = None


class _Request(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


def batch_acts(path: str) -> Mapping[str, tuple[str, str]]:
    """By method, what is done to which batch on a path; nothing if it is a path of something else."""
    if path == _PATH:
        return {"POST": ("create", ""), "GET": ("list", "")}
    if not path.startswith(_PATH + "/"):
        return {}
    name, _, below = path.removeprefix(_PATH + "/").partition("/")
    if below:
        return {"POST": ("cancel", name)} if below == "cancel" else {}
    return {"GET": ("read", name)}


class BatchesSurface:
    """One act on batches, or on one of them."""

    name = "batches"
    no_key = ChatSurface.no_key
    wrong_key = ChatSurface.wrong_key

    def __init__(
        self, batches: Batches, cache: PromptCache, usual_tokens: int, files: Files, act: str, name: str
    ) -> None:
        self._batches = batches
        self._cache = cache
        self._usual = usual_tokens
        self._files = files
        self._act = act
        self._name = name

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The bearer token."""
        return bearer_key(headers)

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As OpenAI says it."""
        return (), refusal.body()

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not made, 400 for what cannot be made)."""
        key = self.key(headers) or ""
        if self._act == "create":
            asked = _asked(body)
            tasks = [self._task(each) for each in self._requests(key, asked)]
            about: dict[str, object] = {
                "endpoint": asked.endpoint,
                "input_file_id": asked.input_file_id,
                "completion_window": asked.completion_window,
                "metadata": asked.metadata,
            }
            arrival = arrival_of(headers, "batched_openai")
            return _job(lambda: self._said(self._batches.start(PREFIX, key, arrival, tasks, about)))
        if self._act == "list":
            return _job(lambda: self._page(self._batches.of(key, PREFIX)))
        batch = self._batches.find(key, self._name)
        if batch is None:
            raise not_found(f"No batch found with id '{self._name}'.")
        if self._act == "cancel":
            if batch.ended_at is not None:
                raise invalid("Cannot cancel a batch that has ended.")
            self._batches.cancel(batch)
        return _job(lambda: self._said(batch))

    def _requests(self, key: str, asked: _Body) -> list[_Request]:
        file = self._files.find(key, asked.input_file_id)
        if file is None or file.purpose != "batch":
            raise invalid(f"No such batch file: {asked.input_file_id}", param="input_file_id")
        try:
            requests = [msgspec.json.decode(line, type=_Request) for line in file.content.split(b"\n") if line.strip()]
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise invalid("A line of the input file is not a valid request.", param="input_file_id") from None
        if not requests or any(each.url != asked.endpoint for each in requests):
            raise invalid("Every line must be for the endpoint of the batch.", param="endpoint")
        return requests

    def _task(self, request: _Request) -> Task:
        body, url = bytes(request.body), request.url
        if url == _EMBEDDINGS:
            return Task(request.custom_id, 0.0, lambda line: _embedded(body, line))
        surface = _SURFACES[url](self._files)

        def make(line: Line) -> bytes:
            return make_whole(surface, surface.read({}, body), line, self._cache, self._usual)

        try:
            return Task(request.custom_id, due_s(surface.read({}, body)), make)
        except ApiError:
            return Task(request.custom_id, 0.0, make)

    def _said(self, batch: Batch) -> dict[str, object]:
        if batch.ended_at is not None and "files" not in batch.about:
            batch.about["files"] = self._results(batch)
        output, errors = cast("tuple[str | None, str | None]", batch.about.get("files", (None, None)))
        done = batch.count("succeeded")
        failed = sum(1 for result in batch.results.values() if result.refusal is not None)
        return {
            "id": batch.id,
            "object": "batch",
            **{name: value for name, value in batch.about.items() if name != "files"},
            "errors": None,
            "status": _status(batch),
            "output_file_id": output,
            "error_file_id": errors,
            "created_at": int(batch.created_at),
            "in_progress_at": int(batch.created_at),
            "expires_at": int(batch.expires_at),
            "completed_at": None if batch.ended_at is None else int(batch.ended_at),
            "cancelling_at": None if batch.cancelled_at is None else int(batch.cancelled_at),
            "request_counts": {"total": len(batch.tasks), "completed": done, "failed": failed},
        }

    def _page(self, batches: list[Batch]) -> dict[str, object]:
        data = [self._said(batch) for batch in batches]
        first, last = (batches[0].id, batches[-1].id) if batches else (None, None)
        return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False}

    def _results(self, batch: Batch) -> tuple[str | None, str | None]:
        """The files of answers and of errors, where there are any."""
        good = [(name, each) for name, each in batch.results.items() if each.end == "succeeded"]
        bad = [(name, each) for name, each in batch.results.items() if each.end != "succeeded"]
        return self._file(batch, "output", good), self._file(batch, "error", bad)

    def _file(self, batch: Batch, what: str, results: list[tuple[str, Result]]) -> str | None:
        if not results:
            return None
        content = b"".join(msgspec.json.encode(_line(name, result)) + b"\n" for name, result in results)
        file = File(f"file-{uuid.uuid4().hex}", f"{batch.id}_{what}.jsonl", "batch_output", content, int(time.time()))
        return self._files.keep(batch.key, file).id


def _status(batch: Batch) -> str:
    if batch.ended_at is None:
        return "cancelling" if batch.cancelled_at is not None else "in_progress"
    if batch.count("canceled"):
        return "cancelled"
    return "expired" if batch.count("expired") else "completed"


def _line(name: str, result: Result) -> dict[str, object]:
    request_id = f"batch_req_{uuid.uuid4().hex}"
    if result.end == "succeeded":
        answer = {"status_code": 200, "request_id": request_id, "body": msgspec.Raw(result.body)}
        return {"id": request_id, "custom_id": name, "response": answer, "error": None}
    if result.refusal is not None:
        said = msgspec.Raw(result.refusal.body())
        answer = {"status_code": result.refusal.status, "request_id": request_id, "body": said}
        return {"id": request_id, "custom_id": name, "response": answer, "error": None}
    error = {"code": f"batch_{result.end}", "message": "This request was not made."}
    return {"id": request_id, "custom_id": name, "response": None, "error": error}


def _embedded(body: bytes, line: Line) -> bytes:
    job = EmbeddingsSurface().read({}, body)
    refusal = refusal_of(job.control.fault, job.control) if job.control.fault is not None else None
    if refusal is not None:
        raise ApiError(refusal)
    made = job.make(1.0)
    line.model_name, line.tier = job.model_name, TIER
    # Half of a price that was rounded up, rounded up, is half the price rounded up.
    line.bill(-(-made.charge_nanos // 2), input_tokens=made.input_tokens, output_tokens=made.output_tokens)
    return made.body


def _asked(body: bytes) -> _Body:
    try:
        asked = msgspec.json.decode(body, type=_Body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise invalid("input_file_id, endpoint and completion_window are needed") from None
    if asked.completion_window != "24h":
        raise invalid("completion_window must be '24h'", param="completion_window")
    if asked.endpoint != _EMBEDDINGS and asked.endpoint not in _SURFACES:
        raise invalid("Invalid endpoint.", param="endpoint")
    return asked


def _job(say: Callable[[], dict[str, object]]) -> Job:
    def made(_: float) -> Made:
        said = msgspec.json.encode(say())
        return Made(said, said)

    return Job("", Control(), made)
