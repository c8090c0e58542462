"""A refusal in the middle of a Responses stream: the response failed, with our code and text.

A whole answer that is a refusal has OpenAI's one error shape. In a stream this API says it by `response.failed`,
which clients show (measured with Codex); its id must be that of the response that began, or SDKs give up.
"""

from __future__ import annotations

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.openai_responses.outline import Outline


def refusal_event(refusal: Refusal, call_id: str, outline: Outline) -> bytes:
    """The event that ends a stream with a refusal; it follows what the outline has seen."""
    details = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value is not None}
    error: dict[str, object] = {
        "code": refusal.code,
        "message": refusal.message,
        "comptroller": {**details, "call_id": call_id},
    }
    return outline.failed(error, call_id)
