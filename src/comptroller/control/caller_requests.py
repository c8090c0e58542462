"""Asking for an identity, by whoever has a token of a trusted issuer and no identity; and what became of it."""

from __future__ import annotations

from comptroller.control import identity_requests
from comptroller.control.caller_route import Asked, json_answer, read_json
from comptroller.control.identity_requests import Wanted
from comptroller.control.office import Office
from comptroller.control.principal import proved
from comptroller.control.route import Sent
from comptroller.core.identity.identity import Environment, IdentityKind
from comptroller.core.identity.request import Principal
from comptroller.flow.door import Answered

PATH = "/comptroller/v1/identity-requests"


class RequestSent(Sent, frozen=True, kw_only=True):
    """What is asked for. `name`: the id of the identity that is wished for."""

    owner: str
    purpose: str
    environment: Environment
    kind: IdentityKind
    name: str | None = None


async def ask(office: Office, asked: Asked) -> Answered:
    """Ask for an identity. The same request twice is one."""
    await proved(office, asked.request)  # nobody else's body is read
    sent = await read_json(asked.request, RequestSent)
    proof = await proved(office, asked.request)  # as they stand once the body has come
    wanted = Wanted(sent.owner, sent.purpose, sent.environment, sent.kind, sent.name)
    row, new = await identity_requests.ask(office, proof, wanted)
    return json_answer(row, 201 if new else 200)


async def show(office: Office, asked: Asked) -> Answered:
    """What became of one's own last request."""
    proof = await proved(office, asked.request)
    who = Principal(proof.issuer.name, str(proof.claims.get("sub")))
    return json_answer(await identity_requests.newest_of(office, who))
