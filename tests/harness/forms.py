"""Forms with files as a client sends them, and sound to put into them."""

import io
import wave
from collections.abc import Mapping
from typing import Any

_MARK = b"a-boundary-of-tests"
FORM_TYPE = b"multipart/form-data; boundary=" + _MARK


def form(fields: Mapping[str, Any]) -> bytes:
    """Bytes are files, all else is text; `image[]` may be a list of files."""
    pieces: list[bytes] = []
    for name, value in fields.items():
        for each in value if isinstance(value, list) else [value]:
            file = isinstance(each, bytes)
            head = f'content-disposition: form-data; name="{name}"' + (f'; filename="{name}.wav"' if file else "")
            kind = b"\r\ncontent-type: application/octet-stream" if file else b""
            data = each if isinstance(each, bytes) else str(each).encode()
            pieces.append(b"--%b\r\n%b%b\r\n\r\n%b\r\n" % (_MARK, head.encode(), kind, data))
    return b"".join((*pieces, b"--", _MARK, b"--\r\n"))


def wav(seconds: float, *, per_s: int = 8_000) -> bytes:
    """Silence of this length."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writing:
        writing.setnchannels(1)
        writing.setsampwidth(2)
        writing.setframerate(per_s)
        writing.writeframes(bytes(round(seconds * per_s) * 2))
    return file.getvalue()
