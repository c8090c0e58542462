"""What a Gemini request names that is stored at the provider: it has an owner, and only that one may use it."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.work.stored import CACHED_CONTENT, Named, StoredUse, uses
from comptroller.wire.gemini.contents import Contents

_PREFIX = "cachedContents/"


def stored_use(request: Mapping[str, object], contents: Contents) -> StoredUse | None:
    """All that it names, from its fields by their usual names."""
    cached = request.get("cachedContent")
    if cached in (None, ""):
        return uses(contents.named, "contents")
    named = cached.removeprefix(_PREFIX) if isinstance(cached, str) and cached.startswith(_PREFIX) else ""
    return uses([Named(named, CACHED_CONTENT, "cachedContent"), *contents.named], "contents")
