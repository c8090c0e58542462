"""Lists of models, in the shapes of the APIs that have one.

The registry knows no date of a model, and its own name for it is the only one: both APIs want something there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from comptroller.core.pricing.estimate import ModelLimits

_NO_DATE = "1970-01-01T00:00:00Z"
# Those of Gemini that are routed here; which of them a model can do is for its provider to say.
_METHODS = ("generateContent", "countTokens", "embedContent")
_ENCODER = msgspec.json.Encoder()


class Listed(Protocol):
    """A model that a caller can reach."""

    @property
    def name(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def limits(self) -> ModelLimits: ...


def openai_page(models: Sequence[Listed]) -> bytes:
    """GET /v1/models of OpenAI."""
    return _ENCODER.encode({"object": "list", "data": [_openai(model) for model in models]})


def openai_entry(model: Listed) -> bytes:
    """GET /v1/models/NAME of OpenAI."""
    return _ENCODER.encode(_openai(model))


def anthropic_page(models: Sequence[Listed]) -> bytes:
    """GET /v1/models of Anthropic: everything is on the first page, whatever size was asked for."""
    ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {"first_id": None, "last_id": None}
    return _ENCODER.encode({"data": [_anthropic(model) for model in models], "has_more": False, **ends})


def anthropic_entry(model: Listed) -> bytes:
    """GET /v1/models/NAME of Anthropic."""
    return _ENCODER.encode(_anthropic(model))


def gemini_page(models: Sequence[Listed]) -> bytes:
    """GET /v1beta/models of Gemini: everything is on the first page, whatever size was asked for."""
    return _ENCODER.encode({"models": [_gemini(model) for model in models]})


def gemini_entry(model: Listed) -> bytes:
    """GET /v1beta/models/NAME of Gemini."""
    return _ENCODER.encode(_gemini(model))


def _openai(model: Listed) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.provider}


def _anthropic(model: Listed) -> dict[str, object]:
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": _NO_DATE,
        "max_input_tokens": model.limits.context_window,
        "max_tokens": model.limits.max_output_tokens,
    }


def _gemini(model: Listed) -> dict[str, object]:
    limits = {
        "inputTokenLimit": model.limits.context_window,
        "outputTokenLimit": model.limits.max_output_tokens,
    }
    return {
        "name": f"models/{model.name}",
        "version": "",
        "displayName": model.name,
        **{name: limit for name, limit in limits.items() if limit is not None},
        "supportedGenerationMethods": _METHODS,
    }
