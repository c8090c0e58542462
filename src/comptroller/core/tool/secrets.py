"""Secrets in arguments of tools, by their names and by their form: hints, and no proof of absence.

Everything here takes time linear to the length of a text, whoever wrote it.
"""

from __future__ import annotations

import re

MASKED = "[masked]"

# What keys begin with, as those who issue them say; looked for before anything is matched.
_BEGINNINGS = (
    "sk-", "sk_", "rk_", "ghp_", "gho_", "ghs_", "ghu_", "ghr_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "xoxa-",
    "xapp-", "AKIA", "ASIA", "AIza", "ya29.", "eyJ", "hf_", "npm_", "pypi-", "SG.", "dop_v1_", "cptr_",
)  # fmt: skip
# At the beginning of a word only, so that a text is gone through once, however often it has such letters.
_KEY = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, _BEGINNINGS)) + r")([\w.-]{12,})", re.ASCII)
_PRIVATE_KEY = "PRIVATE KEY-----"
_BLOCK = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.*", re.DOTALL)  # and all that follows
_OF_A_URL = re.compile(r"(?<=://)[^/\s:@]{0,256}:[^/\s@]{1,256}(?=@)")
_SECRET_NAMES = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "api_key", "access_key", "private_key",
    "authorization", "credential", "credentials", "cookie",
)  # fmt: skip
_NO_SECRETS = ("page_token", "next_token", "continuation_token", "sync_token", "cursor_token")


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is a secret."""
    plain = name.lower().replace("-", "_")
    return plain.endswith(_SECRET_NAMES) and not plain.endswith(_NO_SECRETS)


def holds_secret(text: str) -> bool:
    """Whether a key, a token or a password of a known form is in a text."""
    if _PRIVATE_KEY in text or ("://" in text and _OF_A_URL.search(text)):
        return True
    if not any(map(text.__contains__, _BEGINNINGS)):
        return False
    return any(any(map(str.isdigit, rest)) for rest in _KEY.findall(text))


def masked(text: str) -> str:
    """A text without them."""
    text = _BLOCK.sub(MASKED, text) if _PRIVATE_KEY in text else text
    return _KEY.sub(_mask, _OF_A_URL.sub(MASKED, text) if "://" in text else text)


def _mask(found: re.Match[str]) -> str:
    return MASKED if any(map(str.isdigit, found[1])) else found[0]
