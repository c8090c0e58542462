"""The ASGI application: the provider's own routes, and `/sandbox/*` to rehearse with."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

import msgspec

from comptroller.core.money import format_usd
from comptroller.sandbox import openai_batches
from comptroller.sandbox.batch import Batches
from comptroller.sandbox.bill import Bill
from comptroller.sandbox.chat import answers as chat_answers
from comptroller.sandbox.chat.surface import ChatSurface
from comptroller.sandbox.completions import CompletionsSurface
from comptroller.sandbox.config import SandboxConfig
from comptroller.sandbox.conversations import Conversations, ConversationsSurface, conversation_acts
from comptroller.sandbox.embeddings import EmbeddingsSurface
from comptroller.sandbox.errors import ApiError, ClientGone, Refusal, invalid, not_found
from comptroller.sandbox.faults import FaultBook, FaultPlan
from comptroller.sandbox.files import AnthropicFilesSurface, Files, FilesSurface, file_acts
from comptroller.sandbox.gemini import answers as gemini_answers
from comptroller.sandbox.gemini import batches as gemini_batches
from comptroller.sandbox.gemini import count as gemini_count
from comptroller.sandbox.gemini.embeddings import EmbedSurface
from comptroller.sandbox.gemini.surface import GeminiSurface
from comptroller.sandbox.mcp.control import mcp_methods
from comptroller.sandbox.mcp.face import McpFace
from comptroller.sandbox.media.hearing import HearingSurface
from comptroller.sandbox.media.images import ImagesSurface
from comptroller.sandbox.media.speech import SpeechSurface
from comptroller.sandbox.messages import answers as messages_answers
from comptroller.sandbox.messages import batches as message_batches
from comptroller.sandbox.messages.count import CountSurface
from comptroller.sandbox.messages.surface import MessagesSurface
from comptroller.sandbox.moderations import ModerationsSurface
from comptroller.sandbox.prices import MODELS, find_model
from comptroller.sandbox.prompt import PromptCache
from comptroller.sandbox.reception import Reception
from comptroller.sandbox.responses.background import ResponsesStory
from comptroller.sandbox.responses.stored import Stored
from comptroller.sandbox.script import Script, ScriptPlan
from comptroller.sandbox.single import SingleStory, SingleSurface
from comptroller.sandbox.stored_responses import StoredStory, StoredSurface, stored_acts
from comptroller.sandbox.story import Story
from comptroller.sandbox.surface import Surface
from comptroller.sandbox.wire import Exchange

if TYPE_CHECKING:
    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_LINES_PER_PAGE = 10_000
_MOST_LINES_PER_PAGE = 100_000
_MODELS_PATH = "/models/"

_VERSION = re.compile(r"^/v1(beta)?(?=/)")

Handler = Callable[[Exchange], Awaitable[None]]


class _Api(NamedTuple):
    """Whose words an answer has that is no answer of a model."""

    surface: ChatSurface | MessagesSurface | GeminiSurface
    model_page: Callable[[], bytes]
    model_entry: Callable[[str], bytes]


_OPENAI = _Api(ChatSurface(), chat_answers.model_list, chat_answers.model_entry)
_ANTHROPIC = _Api(MessagesSurface(), messages_answers.model_page, messages_answers.model_entry)
_GEMINI = _Api(GeminiSurface("", stream=False), gemini_answers.model_page, gemini_answers.model_entry)


class SandboxApp:
    """Holds the state of one sandbox and answers its requests."""

    def __init__(self, config: SandboxConfig) -> None:
        self._config = config
        self._bill = Bill(config.bill_lines)
        self._cache = PromptCache(config.cache_prefixes, config.cache_min_tokens)
        self._faults = FaultBook()
        self._script = Script()
        self._stored = Stored()
        self._batches = Batches(self._bill, config.batch_expires_s)
        self._batching = (self._batches, self._cache, config.answer_tokens)
        self._files = Files()
        self._conversations: Conversations = {}
        self._mcp = McpFace(config)
        self._routes: dict[str, dict[str, Handler]] = {
            "/chat/completions": {"POST": self._story(ChatSurface()).serve},
            "/completions": {"POST": self._story(CompletionsSurface()).serve},
            "/embeddings": {"POST": self._single(EmbeddingsSurface()).serve},
            "/moderations": {"POST": self._single(ModerationsSurface()).serve},
            "/images/generations": {"POST": self._single(ImagesSurface("generations")).serve},
            "/images/edits": {"POST": self._single(ImagesSurface("edits")).serve},
            "/images/variations": {"POST": self._single(ImagesSurface("variations")).serve},
            "/audio/speech": {"POST": self._single(SpeechSurface()).serve},
            "/audio/transcriptions": {"POST": self._single(HearingSurface("transcriptions")).serve},
            "/audio/translations": {"POST": self._single(HearingSurface("translations")).serve},
            "/responses": {"POST": self._responses().serve},
            "/messages": {"POST": self._story(MessagesSurface()).serve},
            "/messages/count_tokens": {"POST": self._single(CountSurface()).serve},
            "/models": {"GET": self._list_models},
            "/healthz": {"GET": self._say_healthy},
            "/sandbox/bill": {"GET": self._show_bill, "DELETE": self._reset_bill},
            "/sandbox/bill/requests": {"GET": self._show_lines},
            "/sandbox/requests/count": {"GET": self._count_requests},
            "/sandbox/faults": {"GET": self._show_faults, "POST": self._set_faults, "DELETE": self._clear_faults},
            "/sandbox/script": {"GET": self._show_script, "POST": self._set_script},
            "/sandbox/stored": {"GET": self._show_stored},
            "/sandbox/cache": {"DELETE": self._clear_cache},
            "/sandbox/prices": {"GET": self._show_prices},
        }

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._find(exchange)(exchange)
        except ApiError as error:
            headers, body = _api_of(exchange).surface.error(error.refusal)
            await exchange.respond(error.refusal.status, body, (*headers, *error.refusal.headers))
        except ClientGone:
            pass  # Nobody is left to tell.

    def _story(self, surface: Surface) -> Story:
        return Story(surface, self._config, self._bill, self._cache, self._faults, self._script)

    def _responses(self) -> ResponsesStory:
        shared = (self._config, self._bill, self._cache, self._faults, self._script)
        return ResponsesStory(self._stored, self._files, *shared)

    def _single(self, surface: SingleSurface) -> SingleStory:
        return SingleStory(surface, self._config, self._bill, self._faults)

    def _find(self, exchange: Exchange) -> Handler:
        """The handler of a path. Raises ApiError (404 or 405)."""
        methods: dict[str, Handler]
        path = _VERSION.sub("", exchange.path).rstrip("/")
        if path.startswith(_MODELS_PATH) and ":" in path:
            methods = self._gemini_methods(*path.removeprefix(_MODELS_PATH).rsplit(":", 1))
        elif path.startswith(_MODELS_PATH):
            methods = {"GET": self._show_model}
        else:
            methods = (
                self._routes.get(path)
                or mcp_methods(self._mcp, path)
                or self._batch_methods(path, gemini=_api_of(exchange) is _GEMINI)
            )
            methods = methods or self._stored_methods(path) or self._kept_methods(path, exchange)
        if not methods:
            raise not_found("Invalid URL: there is nothing at this path.")
        handler = methods.get(exchange.method)
        if handler is None:
            raise ApiError(Refusal(405, f"Not allowed here: use {', '.join(methods)}.", code="method_not_supported"))
        return handler

    def _gemini_methods(self, model: str, method: str) -> dict[str, Handler]:
        """What stands behind models/MODEL:METHOD."""
        match method:
            case "generateContent" | "streamGenerateContent":
                story: Reception = self._story(GeminiSurface(model, stream=method == "streamGenerateContent"))
            case "countTokens":
                story = self._single(gemini_count.CountSurface(model))
            case "batchGenerateContent":
                story = self._single(gemini_batches.BatchesSurface(*self._batching, "create", model))
            case "embedContent" | "batchEmbedContents":
                story = self._single(EmbedSurface(model, batch=method == "batchEmbedContents"))
            case _:
                return {}
        return {"POST": story.serve}

    def _stored_methods(self, path: str) -> dict[str, Handler]:
        """What stands behind responses/ID, and below it."""
        acts = stored_acts(path)
        shared = (self._config, self._bill, self._faults)
        return {method: StoredStory(StoredSurface(self._stored, *act), *shared).serve for method, act in acts.items()}

    def _batch_methods(self, path: str, *, gemini: bool) -> dict[str, Handler]:
        """What stands behind the batches of an API."""
        files = self._files
        surfaces: dict[str, SingleSurface]
        if gemini:
            acts = gemini_batches.batch_acts(path)
            surfaces = {each: gemini_batches.BatchesSurface(*self._batching, *act) for each, act in acts.items()}
        elif acts := message_batches.batch_acts(path):
            surfaces = {each: message_batches.BatchesSurface(*self._batching, *act) for each, act in acts.items()}
        else:
            acts = openai_batches.batch_acts(path)
            surfaces = {each: openai_batches.BatchesSurface(*self._batching, files, *act) for each, act in acts.items()}
        return {each: self._single(surface).serve for each, surface in surfaces.items()}

    def _kept_methods(self, path: str, exchange: Exchange) -> dict[str, Handler]:
        """What stands behind files and conversations, and below them."""
        surface = AnthropicFilesSurface if _api_of(exchange) is _ANTHROPIC else FilesSurface
        of_files: dict[str, Handler] = {
            each: self._single(surface(self._files, *act)).serve for each, act in file_acts(path).items()
        }
        return of_files or {
            method: self._single(ConversationsSurface(self._conversations, *act)).serve
            for method, act in conversation_acts(path).items()
        }

    def _check_key(self, exchange: Exchange) -> None:
        surface = _api_of(exchange).surface
        key = surface.key(exchange.headers)
        if key is None or not self._config.accepts(key):
            raise ApiError(surface.no_key if key is None else surface.wrong_key)

    async def _list_models(self, exchange: Exchange) -> None:
        self._check_key(exchange)
        await exchange.respond(200, _api_of(exchange).model_page())

    async def _show_model(self, exchange: Exchange) -> None:
        self._check_key(exchange)
        name = exchange.path.partition(_MODELS_PATH)[2]
        if find_model(name) is None:
            raise not_found("The model does not exist or you do not have access to it.", "model_not_found")
        await exchange.respond(200, _api_of(exchange).model_entry(name))

    async def _say_healthy(self, exchange: Exchange) -> None:
        await _respond(exchange, {"status": "ok"})

    async def _show_bill(self, exchange: Exchange) -> None:
        await _respond(exchange, self._bill.as_json())

    async def _reset_bill(self, exchange: Exchange) -> None:
        """Answer with the bill as it was."""
        last = self._bill.as_json()
        self._bill.reset()
        await _respond(exchange, last)

    async def _show_lines(self, exchange: Exchange) -> None:
        query = {name: values[-1] for name, values in parse_qs(exchange.query.decode("latin-1")).items()}
        limit = min(_whole(query, "limit", _LINES_PER_PAGE), _MOST_LINES_PER_PAGE)
        lines = self._bill.lines(query.get("key"), _whole(query, "after", 0))
        page = [line.as_json() for line, _ in zip(lines, range(limit), strict=False)]
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in page)
        await exchange.respond(200, body, content_type=b"application/x-ndjson")

    async def _count_requests(self, exchange: Exchange) -> None:
        await _respond(exchange, {"count": self._bill.requests, "open": self._bill.open_requests})

    async def _show_faults(self, exchange: Exchange) -> None:
        await _respond(exchange, self._faults.plan)

    async def _set_faults(self, exchange: Exchange) -> None:
        body = await exchange.read_body(self._config.max_body_bytes)
        try:
            self._faults.install(msgspec.json.decode(body, type=FaultPlan))
        except (msgspec.DecodeError, ValueError) as error:
            raise invalid(f"These faults cannot be set: {error}.") from None
        await self._show_faults(exchange)

    async def _clear_faults(self, exchange: Exchange) -> None:
        self._faults.clear()
        await self._show_faults(exchange)

    async def _show_script(self, exchange: Exchange) -> None:
        await _respond(exchange, self._script.plan)

    async def _set_script(self, exchange: Exchange) -> None:
        body = await exchange.read_body(self._config.max_body_bytes)
        try:
            self._script.install(msgspec.json.decode(body, type=ScriptPlan))
        except msgspec.DecodeError as error:
            raise invalid(f"This script cannot be set: {error}.") from None
        await self._show_script(exchange)

    async def _clear_cache(self, exchange: Exchange) -> None:
        self._cache.clear()
        await _respond(exchange, {"status": "ok"})

    async def _show_stored(self, exchange: Exchange) -> None:
        await _respond(exchange, {"responses": self._stored.names(), "files": self._files.names()})

    async def _show_prices(self, exchange: Exchange) -> None:
        """USD per million tokens."""
        prices = [
            {
                "model": model.name,
                "input": format_usd(model.input_price),
                "cached_input": format_usd(model.cached_price),
                "cache_write": format_usd(model.write_price),
                "cache_write_1h": format_usd(model.write_1h_price),
                "output": format_usd(model.output_price),
            }
            for model in MODELS
        ]
        await _respond(exchange, {"prices": prices})


def _api_of(exchange: Exchange) -> _Api:
    """Whose a request is to a path of several APIs, or of none."""
    if b"x-goog-api-key" in exchange.headers or exchange.path.startswith("/v1beta"):
        return _GEMINI
    if b"anthropic-version" in exchange.headers or exchange.path.removeprefix("/v1").startswith("/messages"):
        return _ANTHROPIC
    return _OPENAI


async def _respond(exchange: Exchange, value: object) -> None:
    await exchange.respond(200, msgspec.json.encode(value))


def _whole(query: dict[str, str], name: str, default: int) -> int:
    """A whole number of the query. Raises ApiError (400)."""
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise invalid(f"'{name}' must be a whole number.", param=name)
    return int(text)
