"""The token endpoint (RFC 6749 section 3.2): a token of a trusted issuer or a bootstrap secret in, a credential out.

What is accepted stands in ACCEPTED, and nothing else is: a combination that nobody thought about is not a way in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import msgspec

from comptroller.control import tokens
from comptroller.control.bootstrap import opened_by, remember_issuer, secret_that_holds
from comptroller.control.caller_route import Asked, OAuthError, json_answer, read_client, read_form
from comptroller.control.delegate import acting_identity
from comptroller.control.guesses import GUESS_WINDOW_S, MOST_GUESSES
from comptroller.control.office import Office
from comptroller.control.principal import Unregistered, sandbox, unregistered
from comptroller.control.proof import Proof, prove
from comptroller.control.server_tokens import called_by
from comptroller.control.session_requests import WorkSent, child_request, open_request
from comptroller.control.tokens import Minted
from comptroller.core.identity.credential import AUDIENCE
from comptroller.core.identity.federation import Untrusted
from comptroller.core.identity.request import HOW_TO_ASK
from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.door import Answered, CallerRequest
from comptroller.flow.identify import identify

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
CLIENT_CREDENTIALS = "client_credentials"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
JWT = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
FEDERATED_LIFETIME_S = 3600  # whoever can exchange once can do it again


class Accepted(msgspec.Struct, frozen=True):
    """One combination that opens a session. None: the parameter is left out."""

    grant: str
    subject_token_type: str | None
    actor_token_type: str | None
    audiences: Sequence[str]  # AUDIENCE, or the gateway's own address; it may be left out
    gives: str


_OWN = (AUDIENCE, "public_url")
ACCEPTED: Sequence[Accepted] = (
    Accepted(TOKEN_EXCHANGE, JWT, None, _OWN, "a session of the identity that a JWT of a trusted issuer stands for"),
    Accepted(TOKEN_EXCHANGE, ID_TOKEN, None, _OWN, "the same, of an ID token"),
    Accepted(JWT_BEARER, None, None, _OWN, "the same, of a JWT sent as `assertion`"),
    Accepted(CLIENT_CREDENTIALS, None, None, _OWN, "a session of the identity that a bootstrap secret is of"),
    Accepted(TOKEN_EXCHANGE, ACCESS_TOKEN, None, _OWN, "a session below that of a session credential"),
    Accepted(
        TOKEN_EXCHANGE, ACCESS_TOKEN, ACCESS_TOKEN, _OWN, "the same, for the identity of another session credential"
    ),
    Accepted(
        TOKEN_EXCHANGE, ACCESS_TOKEN, JWT, _OWN, "the same, for the identity that a JWT of a trusted issuer stands for"
    ),
)


class TokenAnswer(msgspec.Struct, frozen=True):
    """RFC 6749 section 5.1 and RFC 8693 section 2.2.1; `identity` and `session` are ours."""

    access_token: str
    expires_in: int
    identity: str
    session: str
    issued_token_type: str = ACCESS_TOKEN
    token_type: str = "Bearer"  # noqa: S105 - a kind of token
    note: str | msgspec.UnsetType = msgspec.UNSET


class _Opener(NamedTuple):
    """Whose session is opened, how the record names who asked, and whom it is for if only they may have it."""

    identity: str
    actor: str
    subject: str | None = None


async def exchange(office: Office, asked: Asked) -> Answered:
    """A session credential for whoever proves to be an identity of the registry, or to act below a session."""
    if office.gate.draining:
        sentence, after = "The gateway is shutting down and opens no sessions.", {"retry-after": "5"}
        raise OAuthError("temporarily_unavailable", sentence, "Try again.", status=503, headers=after)
    form = await read_form(asked.request)
    accepted = _accepted(office, form)
    if accepted.subject_token_type == ACCESS_TOKEN:
        answer = _answer(await _below(office, form, accepted))
    elif accepted.grant == CLIENT_CREDENTIALS:
        answer = _answer(await _at_the_top(office, form, await _by_secret(office, asked.request, form)))
    else:
        answer = await _by_proof(office, form, accepted)
    return json_answer(answer, opened="" if "session" in form else answer.session)


async def _by_proof(office: Office, form: Mapping[str, str], accepted: Accepted) -> TokenAnswer:
    """A session for a token of an issuer: of its identity, or of the sandbox of those who have none yet."""
    proof = await _proved(
        office, _sent(form, "assertion" if accepted.grant == JWT_BEARER else "subject_token"), accepted
    )
    if not isinstance(unregistered(office, proof), Unregistered):
        return _answer(await _at_the_top(office, form, _matched(office, proof, accepted)))
    async with office.deciding:  # whatever is decided about them now is decided before their session opens, or after
        found = await sandbox(office, proof)
        if not isinstance(found, tuple):
            return _answer(await _at_the_top(office, form, _matched(office, proof, accepted, found)))
        identity, who = found
        minted = await _at_the_top(office, form, _Opener(identity, who.name, who.name))
    return msgspec.structs.replace(
        _answer(minted), note=f"This is a sandbox. For an identity of your own: {HOW_TO_ASK}."
    )


def _answer(minted: Minted) -> TokenAnswer:
    return TokenAnswer(minted.credential, minted.lifetime_s, minted.identity, minted.session)


async def _at_the_top(office: Office, form: Mapping[str, str], opener: _Opener) -> Minted:
    """A session of this identity: a new one, or the one that `session` names, if the same actor opened it."""
    work, (identity, actor, subject) = _work(form), opener
    if work.identity not in {None, identity}:
        raise OAuthError(
            "invalid_request", f"This stands for {identity}, and not for {work.identity}.", "Leave it out."
        )
    if subject is None and identity in office.gate.registry.federation.sandboxes:
        sentence = f"{identity} is a sandbox: it is for those whose token stands for no identity."
        raise OAuthError("invalid_grant", sentence, "Use another identity.")
    if subject is not None and work.subject not in {None, subject}:
        raise OAuthError("invalid_request", f"The subject of a sandbox is whoever has it: {subject}.", "Leave it out.")
    if "session" not in form:
        sent = msgspec.structs.replace(work, identity=identity, subject=subject or work.subject)
        request = open_request(sent, None, agreed=False)
        return await tokens.open_session(office, request, actor)
    acting_identity(office, identity)
    session, now_ns = office.gate.sessions.get(form["session"]), office.gate.clock.expiry_ns()
    own = session is not None and (session.identity, session.parent, session.minted_by) == (identity, None, actor)
    own = own and session is not None and subject in {None, session.subject}
    if session is None or not own or not session.goes_on(now_ns):
        sentence = "There is no such session of yours that goes on."
        raise OAuthError("invalid_grant", sentence, "Leave `session` out: a new one is opened.")
    return await tokens.fresh_credential(office, session.id, work.lifetime_s, actor)


async def _below(office: Office, form: Mapping[str, str], accepted: Accepted) -> Minted:
    """A session below that of the subject's credential: for the actor's identity, or for an ephemeral child."""
    work, kind, actor = _work(form), accepted.actor_token_type, None
    if kind == JWT:
        proof = await _proved(office, _sent(form, "actor_token"), accepted)
        identity = _matched(office, proof, accepted).identity
    elif kind == ACCESS_TOKEN:
        actor = _caller(office, _sent(form, "actor_token"), "actor token")
        identity = actor.session.name
    else:
        identity = work.identity
    if work.identity not in {None, identity}:
        hint = "Send one of the identity that is to take part."
        raise OAuthError("invalid_request", f"The actor token is of {identity}, and not of {work.identity}.", hint)
    # Last, and nothing waits from here on: a stop may come while keys of an issuer are fetched.
    sent = _sent(form, "subject_token")
    parent = called_by(office, sent, actor) or _caller(office, sent, "subject token")
    request = child_request(msgspec.structs.replace(work, identity=identity), parent, actor, agreed=kind is not None)
    return await tokens.open_session(office, request, parent.session.name)


def _caller(office: Office, credential: str, what: str) -> Caller:
    """Whose session credential this is. Raises OAuthError unless it works now."""
    caller = identify(office.gate, [credential])
    no = caller if isinstance(caller, Refusal) else standing(office.gate, caller)
    if isinstance(caller, Refusal) or no is not None:
        refusal = no or cast("Refusal", caller)
        raise OAuthError(
            "invalid_request", f"The {what} does not work: {refusal.sentence}", refusal.hint, code=refusal.code
        )
    return caller


def _sent(form: Mapping[str, str], name: str) -> str:
    if name not in form:
        raise OAuthError("invalid_request", f"The parameter `{name}` is missing or empty.", "Send the token there.")
    return form[name]


def _work(form: Mapping[str, str]) -> WorkSent:
    """What the session is for: `work`, as JSON, with the fields that `POST /comptroller/v1/sessions` takes."""
    if "work" in form and "session" in form:
        raise OAuthError(
            "invalid_request", "A session that goes on is for what it was opened for.", "Leave `work` out."
        )
    try:
        work = msgspec.json.decode(form.get("work", "{}"), type=WorkSent)
    except (msgspec.MsgspecError, RecursionError) as error:
        hint = "Send a JSON object with fields of `POST /comptroller/v1/sessions`."
        raise OAuthError("invalid_request", f"`work` is not valid: {error}.", hint) from error
    default_s = FEDERATED_LIFETIME_S if work.lifetime_s is None else work.lifetime_s
    return msgspec.structs.replace(work, lifetime_s=_lifetime_s(form, default_s))


def _accepted(office: Office, form: Mapping[str, str]) -> Accepted:
    """The line of the table that this request is."""
    grant = form.get("grant_type")
    of_grant = [each for each in ACCEPTED if each.grant == grant]
    if not of_grant:
        known = ", ".join(dict.fromkeys(each.grant for each in ACCEPTED))
        error = "invalid_request" if grant is None else "unsupported_grant_type"
        sentence = (
            "The parameter `grant_type` is missing." if grant is None else "This grant type is not accepted here."
        )
        raise OAuthError(error, sentence, f"Send `grant_type` as one of: {known}.")
    if grant == TOKEN_EXCHANGE:
        _need(form, "subject_token", "subject_token_type")
    kinds = (form.get("subject_token_type"), form.get("actor_token_type"))
    found = next((each for each in of_grant if (each.subject_token_type, each.actor_token_type) == kinds), None)
    if found is None or ("actor_token" in form) != (found.actor_token_type is not None):
        hint = "What is accepted stands in docs/federation.md, as a table."
        raise OAuthError("invalid_request", "This combination of token types is not accepted.", hint)
    _check_target(office, form, found)
    return found


def _need(form: Mapping[str, str], *names: str) -> None:
    """These parameters are there. One without a value counts as left out."""
    for name in names:
        if name not in form:
            hint = "What a grant type takes stands in docs/federation.md, as a table."
            raise OAuthError("invalid_request", f"The parameter `{name}` is missing or empty.", hint)


def _check_target(office: Office, form: Mapping[str, str], accepted: Accepted) -> None:
    known = {office.process.url if each == "public_url" else each for each in accepted.audiences}
    if any(form.get(name, AUDIENCE) not in known for name in ("audience", "resource")):
        raise OAuthError(
            "invalid_target",
            "Credentials are issued for this gateway only.",
            f"Leave `audience` out, or send {AUDIENCE}.",
        )
    if form.get("requested_token_type", ACCESS_TOKEN) not in {ACCESS_TOKEN, JWT}:
        raise OAuthError("invalid_request", "This type of token is not issued.", "Leave `requested_token_type` out.")
    if "scope" in form:
        raise OAuthError("invalid_scope", "There are no scopes here.", "Leave `scope` out.")


async def _by_secret(office: Office, request: CallerRequest, form: Mapping[str, str]) -> _Opener:
    """The identity whose bootstrap secret was sent (RFC 6749 section 4.4)."""
    identity, secret = read_client(request, form)
    found = await secret_that_holds(office, identity, secret)
    if found is None:
        sentence = f"This secret was sent wrongly more than {MOST_GUESSES} times in a minute."
        after = {"retry-after": str(GUESS_WINDOW_S)}
        raise OAuthError("temporarily_unavailable", sentence, "Wait a minute.", status=429, headers=after)
    if isinstance(found, str):
        hint = "An operator issues one with `comptroller secrets issue IDENTITY`."
        raise OAuthError("invalid_client", found, hint, status=401, headers={"www-authenticate": "Basic"})
    remember_issuer(office, found)
    return _Opener(found.identity, opened_by(found.id))


async def _proved(office: Office, token: str, accepted: Accepted) -> Proof:
    proof = await prove(office, token)
    if isinstance(proof, Untrusted):
        raise _said(proof, accepted)
    return proof


def _matched(office: Office, proof: Proof, accepted: Accepted, no: str | Untrusted = "") -> _Opener:
    """The identity that the token of an issuer stands for. `no`: why it has no sandbox, if it has no identity."""
    identity = office.gate.registry.federation.identity_of(proof.issuer, proof.claims)
    if isinstance(identity, Untrusted):
        raise _said(no if isinstance(no, Untrusted) else identity, accepted)
    return _Opener(identity, f"{proof.issuer.name}:{proof.subject}")


def _said(no: Untrusted, accepted: Accepted) -> OAuthError:
    """A token that is not believed: RFC 7523 section 3.1 and RFC 8693 section 2.2.2 have different words for it."""
    if no.retry_after_s is not None:
        after = {"retry-after": str(no.retry_after_s)}
        return OAuthError("temporarily_unavailable", no.sentence, no.hint, code=no.code, status=503, headers=after)
    error = "invalid_grant" if accepted.grant == JWT_BEARER else "invalid_request"
    return OAuthError(error, no.sentence, no.hint, code=no.code)


def _lifetime_s(form: Mapping[str, str], default_s: int) -> int:
    """How long the credential is to work: `lifetime_s`, which is ours."""
    text = form.get("lifetime_s", str(default_s))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise OAuthError("invalid_request", "`lifetime_s` is no number of seconds.", "Send it as digits, such as 3600.")
    return int(text)
