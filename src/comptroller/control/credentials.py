"""Session credentials: whether one works now (RFC 7662), and giving one up (RFC 7009)."""

from __future__ import annotations

import msgspec

from comptroller.control.caller_route import Asked, OAuthError, caller_of, json_answer, read_form
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.control.sessions import end_session
from comptroller.core.identity.credential import AUDIENCE, Act, act_of
from comptroller.core.ids import spiffe_id
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.core.work.delegation import actors
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.door import Answered
from comptroller.flow.identify import identify


class Introspection(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 7662 section 2.2. Of a credential that does not work nothing is said."""

    active: bool
    token_type: str = ""
    client_id: str = ""  # the identity that answers for it, as the registry names it
    sub: str = ""
    aud: str = ""
    iss: str = ""
    jti: str = ""
    sid: str = ""
    iat: int = 0
    exp: int = 0
    act: Act | None = None  # who acts for `sub` (RFC 8693 section 4.1)
    # What the session declares. Ours, and left out where nothing was said.
    name: str = ""  # who acts: an ephemeral child by its own name
    chain: tuple[str, ...] = ()  # who acts, who started it, ..., who began
    subject: str | None = None
    tenant: str | None = None
    task_type: str | None = None
    task: str | None = None
    workflow: str | None = None


async def introspect(office: Office, asked: Asked) -> Answered:
    """Whether a credential works now, for whoever has a working one of his own."""
    form = await read_form(asked.request)
    caller_of(office, asked.request)
    caller = identify(office.gate, [_token(form.get("token"))])
    if isinstance(caller, Refusal) or standing(office.gate, caller) is not None:
        return json_answer(Introspection(active=False))
    return json_answer(_described(office, caller))


async def revoke(office: Office, asked: Asked) -> Answered:
    """End the session of a credential, which whoever has it may do. One that is not ours or is over changes nothing."""
    form = await read_form(asked.request)
    claims = office.gate.credentials.verify(_token(form.get("token")), office.gate.clock.expiry_ns())
    if not isinstance(claims, Refusal):
        try:
            await end_session(office, claims.session, "its credential was revoked by whoever holds it", claims.identity)
        except ControlProblem as problem:
            if problem.status != 404:
                raise
    return json_answer({})


def _token(given: str | None) -> str:
    if given is None:
        raise OAuthError("invalid_request", "The parameter `token` is missing.", "Send the credential as `token`.")
    return given


def _described(office: Office, caller: Caller) -> Introspection:
    claims, session, trust_domain = caller.claims, caller.session, office.issuer.trust_domain
    lineage = office.gate.runs.lineage(session)
    return Introspection(
        active=True,
        token_type="Bearer",  # noqa: S106 - a kind of token
        client_id=claims.identity,
        sub=spiffe_id(trust_domain, lineage[-1].identity),
        aud=AUDIENCE,
        iss=f"spiffe://{trust_domain}",
        jti=claims.credential_id,
        sid=claims.session,
        iat=claims.issued_at_ns // NANOS_PER_SECOND,
        exp=claims.expires_at_ns // NANOS_PER_SECOND,
        act=act_of(trust_domain, actors(lineage)[:-1]),
        name=session.name,
        chain=caller.names,
        subject=session.subject,
        tenant=session.tenant,
        task_type=session.task_type,
        task=session.task,
        workflow=session.workflow,
    )
