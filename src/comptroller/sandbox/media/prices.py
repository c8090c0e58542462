"""What images, speech and transcriptions cost here, and the arithmetic of it: apart from the gateway's on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.core.money import parse_usd

_PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Media:
    """A model and its prices in nano-USD: tokens and characters for a million, the rest for one."""

    name: str
    input: int = 0
    image_input: int = 0
    audio_input: int = 0
    output: int = 0
    character: int = 0
    second: int = 0
    images: tuple[tuple[str, int], ...] = ()
    """Of one image, by quality and size."""

    def tokens(self, *, text: int = 0, images: int = 0, audio: int = 0, output: int = 0) -> int:
        """The price of tokens, rounded up once."""
        whole = text * self.input + images * self.image_input + audio * self.audio_input + output * self.output
        return -(-whole // _PER_MILLION)

    def characters(self, count: int) -> int:
        """The price of a text that is spoken."""
        return -(-count * self.character // _PER_MILLION)


_IMAGES = (
    ("standard-1024x1024", parse_usd("0.04")),
    ("hd-1024x1024", parse_usd("0.08")),
    ("hd-1024x1792", parse_usd("0.12")),
)
MEDIA = {
    model.name: model
    for model in (
        Media("sandbox-image", parse_usd("5"), image_input=parse_usd("10"), output=parse_usd("40")),
        Media("sandbox-picture", images=_IMAGES),
        Media("sandbox-voice", parse_usd("0.6"), output=parse_usd("12")),
        Media("sandbox-speaker", character=parse_usd("15")),
        Media("sandbox-hearing", parse_usd("2.5"), audio_input=parse_usd("6"), output=parse_usd("10")),
        Media("sandbox-listener", second=parse_usd("0.0001")),
    )
}
