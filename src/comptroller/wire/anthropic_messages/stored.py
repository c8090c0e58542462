"""What a Messages request names that is stored at the provider: it has an owner, and only that one may use it."""

from __future__ import annotations

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import CONTAINER, Named, StoredUse, uses
from comptroller.wire.anthropic_messages.contents import Contents
from comptroller.wire.anthropic_messages.fields import continues
from comptroller.wire.body import is_object


def refused_use(request: dict[str, object]) -> Refusal | None:
    """The refusal of a request that goes on with a thread, of which we have no records; None for any other."""
    if not continues(request.get("thread")):
        return None
    return Refusal(
        code="object_unknown",
        sentence="`thread` names a stored conversation, and no record of this gateway says whose that is.",
        hint="Send the whole conversation in `messages`.",
        param="thread",
    )


def stored_use(request: dict[str, object], contents: Contents) -> StoredUse | None:
    """All that it names."""
    container = request.get("container")
    if is_object(container):
        container = container.get("id")
    if container is None:
        return uses(contents.named, "messages")
    named = Named(container if isinstance(container, str) else "", CONTAINER, "container", context=False)
    return uses([named, *contents.named], "messages")
