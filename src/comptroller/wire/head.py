"""What of a request a dialect reads beside the body: what the path names, the query, the type of the body."""

from __future__ import annotations

import msgspec

JSON = b"application/json"


class Head(msgspec.Struct, frozen=True, gc=False):
    """The parts of a request's head that say what its body means."""

    named: str = ""  # what stands in the path where the route has a name, percent-decoded
    query: bytes = b""  # as it came, without the question mark
    content_type: bytes = JSON  # as it came; empty: not said
    api: bytes = b""  # the version of the API and its betas, as headers ask for them


PLAIN = Head()  # of a request that says everything in its body
