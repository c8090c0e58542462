"""Answers from a chat: a tool that shares a secret with the gateway says which admin said yes or no to which ticket.

What it sends is a JWT (HS256) for one ticket and one answer, good for minutes and once. No credential of an admin is in
it, and it opens nothing else. Who answered is still an admin: all that holds for them holds here.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey
from joserfc.jwt import JWTClaimsRegistry

from comptroller.control import approvals
from comptroller.control.approval_rows import Answered, TermsSent
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict
from comptroller.core.identity.admin import Actor
from comptroller.core.instant import NANOS_PER_SECOND

AUDIENCE = "comptroller-approvals"
LONGEST_S = 600  # between a click and what it does lie seconds
LONGEST_TOKEN = 4096  # characters
_LEEWAY_S = 30
_HINT = "docs/approvals.md says what a chat tool has to sign, and with what."


class Said(msgspec.Struct, frozen=True):
    """What the claims of a token say."""

    ticket: str
    action: Literal["approve", "deny"]
    sub: str  # the name of the admin who answers
    reason: str
    jti: str
    iat: int
    exp: int


async def answer(office: Office, token: str) -> Answered:
    """Approve a ticket as it asks, or deny it. Raises ControlProblem, with status 401 for what proves nothing."""
    chat, now_s = office.chat, office.gate.clock.expiry_ns() // NANOS_PER_SECOND
    if chat.secret is None:
        raise conflict("No chat tool may answer here.", "Set `chat.secret` in comptroller.toml.")
    said = _proved(OctKey.import_key(chat.secret), token, now_s)
    admin = office.admins.get(said.sub)
    if admin is None or admin.standing(office.gate.clock.expiry_ns()) != "active":
        whom = office.admins.whom(office.gate.clock.expiry_ns())
        raise ControlProblem(403, "not_approver", f"{said.sub} is no admin who may act.", whom)
    if not chat.use(said.jti, said.exp + _LEEWAY_S, now_s):
        raise conflict("This token was used already.", "Sign another one, with a `jti` of its own.")
    actor, reason = Actor(admin.name, admin.role, named=True), f"{said.reason} (in a chat)"
    if said.action == "approve":
        return await approvals.approve(office, said.ticket, TermsSent(), reason, actor, in_chat=True)
    return Answered(await approvals.deny(office, said.ticket, reason, actor), None)


def _proved(key: OctKey, token: str, now_s: int) -> Said:
    if len(token) > LONGEST_TOKEN:
        raise _invalid("is longer than one can be")
    rules = JWTClaimsRegistry(
        now=now_s,
        leeway=_LEEWAY_S,
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        found = jwt.decode(token, key, algorithms=["HS256"])
        rules.validate(found.claims)
        said = msgspec.convert(found.claims, Said)
    except ExpiredTokenError:
        raise _invalid("has expired") from None
    except msgspec.ValidationError as error:
        raise _invalid(f"does not say what it must: {error}") from error
    except (JoseError, ValueError):
        raise _invalid("was not signed with the secret that the gateway has, or is for something else") from None
    if said.exp - said.iat > LONGEST_S or not said.jti:
        raise _invalid(f"lasts longer than {LONGEST_S} seconds, or has no `jti`")
    return said


def _invalid(why: str) -> ControlProblem:
    return ControlProblem(401, "token_invalid", f"The token {why}.", _HINT)
