"""A token that an MCP server was given, exchanged by that server for a session below the one that called it.

So a tool that calls models or other tools does so in the tree of whoever called it: the same budgets, one generation
deeper, and stopped with it.
"""

from __future__ import annotations

import msgspec

from comptroller.control.caller_route import OAuthError
from comptroller.control.office import Office
from comptroller.core.identity.credential import Claims
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.identify import as_known
from comptroller.flow.mcp.tokens import ServerClaims


def called_by(office: Office, token: str, actor: Caller | None) -> Caller | None:
    """Who called the server that was sent this token; None for what is no such token.

    Raises OAuthError unless it is good and `actor` is that server, by its identity.
    """
    gate, payload = office.gate, office.issuer.claims_for_server(token)
    if payload is None:
        return None
    claims = msgspec.json.decode(payload, type=ServerClaims)
    now_ns = gate.clock.expiry_ns()
    if now_ns >= claims.exp * NANOS_PER_SECOND:
        raise _no("it has expired", "Exchange it while the call goes on: it is good for five minutes.")
    server = next((each for each in gate.providers.values() if each.token_audience == claims.aud), None)
    if server is None or server.acts_as is None:
        raise _no("no server with an identity is set up for its audience", "Set `identity` under [servers].")
    if actor is None or actor.identity.id != server.acts_as:
        hint = f"Send the session credential of {server.acts_as} as `actor_token`."
        raise _no(f"only {server.acts_as} may go on with it", hint)
    session = gate.sessions.get(claims.sid)
    identity = "" if session is None else session.identity
    made = Claims(
        claims.jti, identity, claims.sid, claims.iat * NANOS_PER_SECOND, claims.exp * NANOS_PER_SECOND, "gateway"
    )
    caller = as_known(gate, made)
    refused = standing(gate, caller)
    if refused is not None:
        raise OAuthError(
            "invalid_request", f"The subject token does not work: {refused.sentence}", refused.hint, code=refused.code
        )
    return caller


def _no(why: str, hint: str) -> OAuthError:
    return OAuthError("invalid_request", f"The subject token does not work: {why}.", hint)
