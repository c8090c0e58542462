"""Objects of OpenAI as dialects: acts on one of them by its id.

Source: the OpenAI API reference.
"""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Kind, Named, StoredUse
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectAnswer, ObjectCall, asks_nothing, own_call, read_object_answer
from comptroller.wire.openai_surface import AskedRequest, OpenAISurface


class OpenAIObjects(OpenAISurface):
    """Acts on one object: what stands in a path below its id is done to it. None of them takes a body."""

    def __init__(self, name: str, kind: Kind, path: str, below: str = "", *, deletes: bool = False) -> None:
        """`path`: before the id. `below`: what follows the id."""
        self.name = name
        self._kind: Kind = kind
        self.path = path
        self._below = below
        self._deletes = deletes

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """All of it is in the head; a body does not go on."""
        use = StoredUse((Named(head.named, self._kind),), deletes=self._deletes)
        return ObjectCall(asks_nothing(use), f"{self.path}/{head.named}{self._below}")

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """Of the object that it is about: our records have its id as it stands here."""
        return own_call(request).path

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return own_call(request).content_type

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """Its body, if it has one."""
        return own_call(request).body

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """What it says of the object."""
        return read_object_answer(body)


class OpenAIContents(OpenAIObjects):
    """Reading what is in an object: the answer is its bytes, whatever they are."""

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """Nothing is said of the object."""
        return ObjectAnswer()
