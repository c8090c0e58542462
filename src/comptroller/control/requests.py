"""What may be sent to the admin plane: the queries and the bodies of its routes.

What a type here rules out is refused with 400, and stands in the document; what it allows and cannot be is a 422.
Bounds in `extra_json_schema` stand in the document too, and are refused by the noun, which says it better.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta

from comptroller.control.admins import LONGEST_LIFETIME_S as LONGEST_ADMIN_S
from comptroller.control.admins import SHORTEST_LIFETIME_S as SHORTEST_ADMIN_S
from comptroller.control.bootstrap import SECRETS_SHOWN
from comptroller.control.break_glass import LONGEST_S, SHORTEST_S
from comptroller.control.calls import OutcomeWord
from comptroller.control.identity_requests import REQUESTS_SHOWN
from comptroller.control.interfaces import CallFilter, SpendDimension
from comptroller.control.login import LOGIN_LIFETIME_S, LONGEST_LOGIN_S, SHORTEST_LOGIN_S
from comptroller.control.reading import read_instant
from comptroller.control.reason import LONGEST_REASON
from comptroller.control.route import Sent
from comptroller.control.sessions import SESSIONS_SHOWN
from comptroller.control.stops import STOPS_SHOWN
from comptroller.control.tokens import SHORTEST_LIFETIME_S
from comptroller.core.identity.admin import Role
from comptroller.core.identity.credential import DEFAULT_LIFETIME_S, LONGEST_LIFETIME_S
from comptroller.core.identity.secret import LONGEST_SECRET_LIFE_S
from comptroller.core.policy.break_glass import BreakGlassScope
from comptroller.core.work.stop import StopScope

ROWS_MOST = 10_000  # in one answer; `before` gets the next ones

Limit = Annotated[int, Meta(ge=1, le=ROWS_MOST, description="How many rows at most.")]
Reason = Annotated[
    str,
    Meta(
        description="One line of words for whoever asks later.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_REASON},
    ),
]
IdentityId = Annotated[str, Meta(description="An identity of the registry.", examples=["agent/scout"])]
Instant = Annotated[str, Meta(description="An instant (RFC 3339).", extra_json_schema={"format": "date-time"})]
Usd = Annotated[str, Meta(description="A decimal amount of USD.", examples=["0.0123"])]


class CallsQuery(Sent, frozen=True):
    """Which calls. All that is given must match."""

    identity: IdentityId | None = None
    team: str | None = None
    session: str | None = None
    model: Annotated[str, Meta(description="The model that was called.")] | None = None
    tool: Annotated[str, Meta(description="The tool that was called, as SERVER/TOOL.")] | None = None
    outcome: OutcomeWord | None = None
    since: Instant | None = None
    before: Annotated[str, Meta(description="A call's id: only calls that stand after it, newest first.")] | None = None
    limit: Limit = 100

    def read(self) -> CallFilter:
        """The same for the books. Raises ControlProblem."""
        return CallFilter(
            identity=self.identity,
            team=self.team,
            session=self.session,
            model=self.model,
            tool=self.tool,
            outcome=self.outcome,
            since_ns=read_instant(self.since) if self.since is not None else None,
            before=self.before,
            limit=self.limit,
        )


class SpendQuery(Sent, frozen=True):
    """Which calls, and what the rows are. All that is given must match."""

    by: Annotated[SpendDimension, Meta(description="What the rows are.")] = "team"
    since: Annotated[Instant, Meta(description="Left out: from the beginning.")] | None = None
    until: Annotated[Instant, Meta(description="Left out: until now.")] | None = None
    limit: Limit = ROWS_MOST
    team: str | None = None
    owner: str | None = None
    identity: IdentityId | None = None
    environment: str | None = None
    session: str | None = None
    model: str | None = None
    provider: str | None = None
    tool: str | None = None
    server: str | None = None


class SessionsQuery(Sent, frozen=True):
    identity: IdentityId | None = None
    all: Annotated[bool, Meta(description="Ended and expired ones too.")] = False
    limit: Limit = SESSIONS_SHOWN


class StopsQuery(Sent, frozen=True):
    all: Annotated[bool, Meta(description="What was lifted, too.")] = False
    limit: Limit = STOPS_SHOWN


class LimitQuery(Sent, frozen=True):
    limit: Limit = 100


class PricesQuery(Sent, frozen=True):
    model: str
    provider: str | None = None
    at: Annotated[date, Meta(description="The day whose prices are shown; left out: today, in UTC.")] | None = None


class RepriceQuery(Sent, frozen=True):
    since: Instant
    identity: IdentityId | None = None
    model: str | None = None
    before: Annotated[str, Meta(description="Only calls older than this one: the `next` of an answer.")] | None = None


class ApplyQuery(Sent, frozen=True):
    expected_version: (
        Annotated[int, Meta(ge=0, description="Refuse if another version is installed by now.")] | None
    ) = None


class MintRequest(Sent, frozen=True):
    identity: IdentityId
    lifetime_s: (
        Annotated[
            int,
            Meta(
                description=f"How long the credential is good for; left out: {DEFAULT_LIFETIME_S}.",
                extra_json_schema={"minimum": SHORTEST_LIFETIME_S, "maximum": LONGEST_LIFETIME_S},
            ),
        ]
        | None
    ) = None


class SecretsQuery(Sent, frozen=True):
    identity: IdentityId | None = None
    all: Annotated[bool, Meta(description="Those that ended or were taken back, too.")] = False
    limit: Limit = SECRETS_SHOWN


class SecretRequest(Sent, frozen=True):
    identity: IdentityId
    expires_s: Annotated[
        int,
        Meta(
            description="How long it can be used.",
            extra_json_schema={"minimum": 1, "maximum": LONGEST_SECRET_LIFE_S},
        ),
    ]


class ReasonRequest(Sent, frozen=True):
    reason: Reason


class RequestsQuery(Sent, frozen=True):
    all: Annotated[bool, Meta(description="Decided ones, too, the newest first.")] = False
    limit: Limit = REQUESTS_SHOWN


class ApproveRequest(Sent, frozen=True):
    reason: Reason
    name: Annotated[str, Meta(description="Its id; left out: that which is wished for.")] | None = None
    team: Annotated[str, Meta(description="Who pays; left out: the team of its owner.")] | None = None


class StopRequest(Sent, frozen=True):
    """What is stopped, or whose stop is lifted."""

    scope: StopScope
    reason: Reason
    value: Annotated[
        str,
        Meta(
            description="Its id or name; of models a pattern with * and ?, too; a credential by its id or itself; "
            "left out for everything."
        ),
    ] = ""


class CorrectRequest(Sent, frozen=True):
    charge_usd: Usd
    reason: Reason


class ResumeRequest(Sent, frozen=True):
    provider: str
    model: str
    reason: Reason


AdminLifetime = Annotated[
    int,
    Meta(
        description="For how many seconds it is let in.",
        extra_json_schema={"minimum": SHORTEST_ADMIN_S, "maximum": LONGEST_ADMIN_S},
    ),
]


class LoginRequest(Sent, frozen=True):
    token: Annotated[str, Meta(description="A JWT of an issuer of the registry.")]
    lifetime_s: (
        Annotated[
            int,
            Meta(
                description=f"How long the login is good for; left out: {LOGIN_LIFETIME_S}.",
                extra_json_schema={"minimum": SHORTEST_LOGIN_S, "maximum": LONGEST_LOGIN_S},
            ),
        ]
        | None
    ) = None


class AdminRequest(Sent, frozen=True):
    """An admin, known by a credential, or by a subject of an issuer."""

    name: Annotated[
        str,
        Meta(
            description="As it stands on records.",
            examples=["ada@acme.example"],
            extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$"},
        ),
    ]
    role: Role
    lifetime_s: AdminLifetime | None = None
    issuer: Annotated[str, Meta(description="The name of an issuer of the registry.")] | None = None
    subject: Annotated[str, Meta(description="Exactly as `sub` of its tokens has it.")] | None = None


class RotateAdminRequest(Sent, frozen=True):
    lifetime_s: AdminLifetime | None = None


class BreakGlassRequest(Sent, frozen=True):
    """For whom policies are to be skipped, for how long, and up to what amount."""

    scope: BreakGlassScope
    lasts_s: Annotated[
        int,
        Meta(description="From its confirmation.", extra_json_schema={"minimum": SHORTEST_S, "maximum": LONGEST_S}),
    ]
    limit_usd: Usd
    reason: Reason
    value: Annotated[str, Meta(description="Its id or name; left out for everything.")] = ""


class RotateRequest(Sent, frozen=True):
    reason: Reason
    distrust_old: Annotated[
        bool, Meta(description="Refuse at once what the old keys signed, and cut the calls in flight.")
    ] = False


class DocumentsRequest(Sent, frozen=True):
    """What is to be installed as one version."""

    registry: Annotated[str, Meta(description="The text of a registry.toml.")]
    policies: (
        Annotated[
            dict[str, str],
            Meta(description="File name to text of each policy file; left out: as they are installed."),
        ]
        | None
    ) = None
