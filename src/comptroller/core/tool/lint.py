"""Lint: what in a tool's definition looks as if it were written to steer a model rather than to describe a tool.

A definition with a remark waits for a person; no remark proves nothing, which is why definitions are pinned. What a
server says of itself in `annotations` is never believed: a tool's risks are what its registry entry says.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Literal, cast

import msgspec

Rule = Literal["hidden_text", "instruction", "secret_path", "other_tool", "too_long", "outside_reference", "name"]

RULES: Mapping[Rule, str] = {
    "hidden_text": "characters that nobody sees: zero width, direction, tags, control",
    "instruction": "tells a model what to do, think or keep from the user",
    "secret_path": "names a place where secrets are kept",
    "other_tool": "names a tool of another server",
    "too_long": "has room for more than a description",
    "outside_reference": "a $ref that leads out of the definition",
    "name": "a name that is not made of A-Z a-z 0-9 _ - . alone",
}

MOST_REMARKS = 8
_MOST_CHARACTERS = {"title": 200, "description": 8_000}
_MOST_OTHER = 4_000  # of any other text
_READ = 8_000  # characters of one text; a longer one has its remark
_EXCERPT = 60  # characters, on either side together

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_WORD = re.compile(r"[A-Za-z0-9]+(?:[_.-][A-Za-z0-9]+)+|[a-z]+[A-Z][A-Za-z0-9]*")  # as no language has them
_REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})

_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,30}\b(?:previous|prior|above|earlier|preceding|all|any|other|system)\b"
    r".{0,30}\b(?:instructions?|prompts?|rules?|messages?|guidelines?|tools?|policy|policies)\b"
    r"|\b(?:before|prior to|instead of)\s+(?:you\s+)?(?:us(?:e|ing)|call(?:ing)?|invok(?:e|ing)|run(?:ning)?)"
    r"\s+(?:this|that|the|any|another|other|every|these)\b.{0,20}\btools?\b"
    r"|\b(?:do not|don't|never|must not|without)\s+(?:ever\s+)?"
    r"(?:tell(?:ing)?|mention(?:ing)?|inform(?:ing)?|reveal(?:ing)?|show(?:ing)?|notify(?:ing)?|alert(?:ing)?|ask(?:ing)?|warn(?:ing)?)"
    r"\b.{0,30}\b(?:users?|humans?|persons?|anyone|anybody|them)\b"
    r"|\b(?:hide|conceal|keep)\s+(?:this|it|that)\b.{0,20}\bfrom\b"
    r"|\b(?:system prompt|secretly|covertly|developer message|jailbreak)\b"
    r"|\b(?:you (?:must|should|shall|have to)|always|make sure to|be sure to)\s+(?:also\s+|first\s+|always\s+)?"
    r"(?:read|send|call|include|pass|append|attach|add|forward|upload|provide|copy|bcc)\b.{0,60}"
    r"\b(?:content|contents|file|files|history|conversation|credentials?|keys?|tokens?|passwords?|secrets?|environment)\b"
    r"|</?\s*(?:important|system|instructions?|secret|hidden|assistant|admin)\s*>|<!--|\[/?(?:inst|system)\]"
)
_SECRET_PATH = re.compile(
    r"\.ssh\b|\bid_(?:rsa|dsa|ecdsa|ed25519)\b|/etc/(?:passwd|shadow|sudoers)\b|\.aws\b|\.kube\b|\.gnupg\b"
    r"|(?<![\w*])\.env\b|\.netrc\b|\.npmrc\b|\.pypirc\b|\.git-credentials\b|\.docker/config\b|/proc/self\b|\bmcp\.json\b"
    r"|\bprivate[ _-]keys?\b|\.bash_history\b"
)


class Remark(msgspec.Struct, frozen=True):
    """One thing that a person should look at before they accept."""

    rule: Rule
    path: str  # where it stands: `description`, `inputSchema.properties.path.description`
    excerpt: str  # with nothing in it that is not seen

    def __str__(self) -> str:
        return f"{self.rule} in {self.path}: {self.excerpt}"


def lint(fields: Mapping[str, object], elsewhere: AbstractSet[str] = frozenset()) -> tuple[Remark, ...]:
    """What looks suspicious in a definition: at most `MOST_REMARKS`. `elsewhere`: names of other servers' tools."""
    found: list[Remark] = []
    name = str(fields.get("name", ""))
    if _NAME.fullmatch(name) is None:
        found.append(Remark("name", "name", one_line(name[:_EXCERPT])))
    for path, text in texts_of(fields):
        found += (Remark(rule, one_line(path), said) for rule, said in _remarks(path, text, elsewhere))
        if len(found) >= MOST_REMARKS:
            break
    return tuple(found[:MOST_REMARKS])


def texts_of(value: object) -> Iterator[tuple[str, str]]:
    """Every text of a JSON value with the path to it; the names of members too, at the path of their object."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str):
            yield path, each
        elif isinstance(each, dict):
            members = cast("dict[str, object]", each)
            for key in members:
                yield path or "name", key
            waiting += [(f"{path}.{key}" if path else key, member) for key, member in reversed(members.items())]
        elif isinstance(each, list):
            items = cast("list[object]", each)
            waiting += [(f"{path}.{index}", item) for index, item in reversed(list(enumerate(items)))]


def visible(text: str) -> str:
    """The text with everything that nobody would see, or that would steer a terminal, written out: `\\u{200B}`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each if each == "\n" or _shows(each) else f"\\u{{{ord(each):04X}}}" for each in text)


def one_line(text: str) -> str:
    """The same on one line."""
    return visible(text).replace("\n", " ")


def _remarks(path: str, text: str, elsewhere: AbstractSet[str]) -> Iterator[tuple[Rule, str]]:
    hidden = _first_hidden(text)
    if hidden is not None:
        yield "hidden_text", _excerpt(text, hidden, hidden + 1)
    if len(text) > _MOST_CHARACTERS.get(path, _MOST_OTHER):
        yield "too_long", f"{len(text):,} characters"
    last = path.rpartition(".")[2]
    if last in _REFERENCES and not text.startswith("#"):
        yield "outside_reference", one_line(text[:_EXCERPT])
    plain = _plain(text[:_READ])
    lower = plain.lower()  # far faster to search than with a flag
    for rule, pattern in _PATTERNS:
        met = pattern.search(lower)
        if met is not None:
            yield rule, _excerpt(plain if len(plain) == len(lower) else lower, *met.span())
    if elsewhere:
        met = next((each for each in _WORD.finditer(plain) if each[0] in elsewhere), None)
        if met is not None:
            yield "other_tool", _excerpt(plain, *met.span())


_PATTERNS: tuple[tuple[Rule, re.Pattern[str]], ...] = (("instruction", _INSTRUCTION), ("secret_path", _SECRET_PATH))


def _plain(text: str) -> str:
    """As a model reads it: without what hides in it, one spelling of each letter, one blank between words."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", "".join(each for each in text if not _hides(each)))
    return " ".join(text.replace("\u2019", "'").split())


def _first_hidden(text: str) -> int | None:
    if text.isascii() and text.isprintable():
        return None
    for index, each in enumerate(text):
        if each not in "\n\r\t" and _hides(each) and not _joins(text, index):
            return index
    return None


_JOINERS = frozenset("\u200c\u200d")


def _joins(text: str, index: int) -> bool:
    """Joiners are part of emoji and of some scripts; between letters of ours they only hide."""
    beside = text[index - 1 : index] + text[index + 1 : index + 2]
    return text[index] in _JOINERS and len(beside) == 2 and all(ord(each) > 0x2FF for each in beside)


def _shows(character: str) -> bool:
    return character.isprintable() and not _hides(character)


def _hides(character: str) -> bool:
    code = ord(character)
    if code < 0x7F:
        return code < 0x20
    return unicodedata.category(character) in _UNSEEN or 0xE0100 <= code <= 0xE01EF  # variation selectors carry bytes


_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})


def _excerpt(text: str, start: int, end: int) -> str:
    around = max(0, _EXCERPT - (end - start)) // 2
    return one_line(text[max(0, start - around) : min(end, start + _EXCERPT) + around])
