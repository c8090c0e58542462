"""Recorded exchanges with real providers (recordings/NOTICE says where from)."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Exchange:
    source: str
    stream: bool
    status: int
    request: Any
    response: bytes
    path: str = ""  # where the path names the model

    @property
    def name(self) -> str:
        return self.source.rsplit("/", 1)[-1]

    @property
    def model(self) -> str:
        """The model that the path names."""
        return self.path.rpartition("/")[2].partition(":")[0]

    def body(self) -> bytes:
        """The request as the client wrote it: today's SDKs send compact JSON."""
        return json.dumps(self.request, separators=(",", ":"), ensure_ascii=False).encode()


def load(name: str) -> list[Exchange]:
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Exchange(**{**row, "response": row["response"].encode()}) for row in rows]


CHAT = load("openai_chat")
