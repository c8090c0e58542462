"""What of a request feeds its prompt, as digests: whether one conversation extends another is a question of bytes.

Cache marks are left out, for they move from turn to turn and are no part of the prompt; so are the fields that bound
or shape the answer alone. Whatever is not known to be either of them is a part: so is the output limit, which some
models are told, and what the headers and the query say of the API, since a beta may write the prompt in another way.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from hashlib import blake2b

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.prefix import Prompt
from comptroller.wire.head import Head

LEAST_BYTES = 4_096  # a shorter body is not worth the digests

# Fields of both dialects that are no part of the prompt.
NOT_IN_THE_PROMPT = frozenset(
    {
        *("stream", "stream_options", "metadata", "temperature", "top_p", "top_k", "seed"),
        *("stop", "stop_sequences", "user", "frequency_penalty", "presence_penalty", "logit_bias"),
        *("logprobs", "top_logprobs", "store", "service_tier", "safety_identifier", "prompt_cache_key"),
        *("prompt_cache_retention", "prompt_cache_options", "cache_control"),
    }
)
_MARK = b'"cache_control"'
_MARKED = frozenset({"system", "tools"})  # lists of objects that may have a mark each
_DIGEST_BYTES = 16
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def with_prompt(
    asked: Asked, dialect: str, fields: Mapping[str, msgspec.Raw], plain: Set[str], body_bytes: int, head: Head
) -> Asked:
    """What was asked, with the digests of its prompt where that may be counted as a prefix later, or extend one.

    Not where the body is short, has a field that is not among the `plain` ones, or holds more than text: images may be
    counted in another way when they are further up.
    """
    if body_bytes < LEAST_BYTES or asked.images or asked.audio_input or asked.unbounded or asked.fees:
        return asked
    if asked.stored is not None and asked.stored.named:
        return asked  # what they hold is not in the body
    if not fields.keys() <= plain:
        return asked
    beside = b"\0".join((dialect.encode(), head.query, head.api))
    prompt = _prompt(beside, fields, body_bytes, asked.text_tokens - body_bytes)
    return msgspec.structs.replace(asked, prompt=prompt)


def _prompt(beside: bytes, fields: Mapping[str, msgspec.Raw], body_bytes: int, extra_tokens: int) -> Prompt:
    digest = blake2b(beside, digest_size=_DIGEST_BYTES)
    for name in sorted(fields.keys() - NOT_IN_THE_PROMPT - {"messages"}):
        raw = bytes(fields[name])
        if name in _MARKED and _MARK in raw:
            raw = _without_marks(raw)
        digest.update(f"\0{name}\0{len(raw)}\0".encode())
        digest.update(raw)
    digests, sizes = [digest.digest()], list[int]()
    for message in _RAWS.decode(fields["messages"]):
        raw = bytes(message)
        sizes.append(len(raw) + 1)
        if _MARK in raw:
            raw = _message_without_marks(raw)
        digest.update(f"\0{len(raw)}\0".encode())
        digest.update(raw)
        digests.append(digest.digest())
    return Prompt(tuple(digests), tuple(sizes), body_bytes, extra_tokens)


def _without_marks(raw: bytes) -> bytes:
    return _ENCODER.encode(_unmarked(raw))


def _message_without_marks(raw: bytes) -> bytes:
    if not raw.startswith(b"{"):
        return raw
    message = _FIELDS.decode(raw)
    content = message.get("content")
    return raw if content is None else _ENCODER.encode({**message, "content": _unmarked(bytes(content))})


def _unmarked(blocks: bytes) -> object:
    """The objects of a list without their own marks; what stands in them stays as it is written, to the last digit.

    Servers that keep numbers and escapes as they came would count those.
    """
    if not blocks.startswith(b"["):
        return msgspec.Raw(blocks)
    return [
        {key: value for key, value in _FIELDS.decode(each).items() if key != "cache_control"}
        if bytes(each).startswith(b"{")
        else each
        for each in _RAWS.decode(blocks)
    ]
