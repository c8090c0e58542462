"""Every setting: its type, its default, its unit at the end of its name, and the reason for the default.

`docs/reference/settings.md` says the same for users; a test holds it against this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from comptroller.core.identity.identity import Environment
from comptroller.core.notice.event import Severity
from comptroller.core.notice.filter import Wanted
from comptroller.settings.servers import ServerSettings
from comptroller.settings.values import NO_NETWORKS, Address, BaseUrl, KeySource, Networks, Values, WebhookUrl

KIB = 1024
MIB = 1024 * KIB

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Bytes = Annotated[int, Meta(ge=1 * KIB, le=1024 * MIB)]


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The admin plane: who steers the gateway."""

    # Its own port, so that a network rule can keep it from agents; the same one as `listen` shares it.
    listen: Address = Address("127.0.0.1", 8789)
    # "terminated": something in front of this plane speaks TLS. What stands before the data plane says nothing of it.
    tls: Literal["terminated"] | None = None
    # Its own TLS. Not that of the data plane: the name is another, and so is who may have the key.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    # A page that points its own name at our address is refused, so names that are ours are named.
    hosts: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,252}$")], ...] = ()


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to standard error, one JSON object a line."""

    # Lines below it are counted and not written.
    level: Literal["info", "warning", "error"] = "info"
    # Which calls get a line. The books have every call; a line is for those that somebody may have to look at.
    calls: Literal["none", "failed", "all"] = "failed"
    # Of each event. A loop that is refused a thousand times a second fills no disk.
    lines_per_s: Annotated[int, Meta(ge=1, le=1_000_000)] = 100


class TraceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Spans for OpenTelemetry. They need the extra: pip install 'comptroller[otel]'."""

    # "otlp": sent as protobuf over HTTP. A switch of its own, because many platforms set the variables everywhere.
    exporter: Literal["none", "otlp"] = "none"
    # The base to which /v1/traces is added. Left out: as the standard OTEL_* variables say, else this machine.
    endpoint: BaseUrl | None = None
    # Whether the name may lead to an address of a private network, and be spoken to in plain http.
    private_network: bool = False


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a scraper of /metrics on the admin plane may see."""

    # Opens /metrics and nothing else, from wherever the admin listener can be reached. Left out: the admin credential.
    token: KeySource | None = None
    # A page of so many, with three outcomes each, has 8,400 lines: 10 ms of the loop in steps, 85 ms of a thread.
    label_sets: Annotated[int, Meta(ge=10, le=10_000)] = 500


class ChatSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A chat tool by which people answer tickets."""

    # It signs with this that an admin has answered: it is believed about who that was. At least 32 bytes. Left out:
    # nobody answers from a chat.
    secret: KeySource | None = None


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may make the process hold in memory or wait for."""

    # Long contexts with images fit; a thousand calls at once of this size still fit a server.
    body_bytes: Bytes = 10 * MIB
    # A slow sender holds a connection and a buffer; a body of 10 MiB takes this long at 3 Mbit/s.
    body_timeout_s: Seconds = 30.0
    # What common servers take: enough for long credentials and traces.
    header_bytes: Annotated[int, Meta(ge=4 * KIB, le=1 * MIB)] = 64 * KIB
    # A JSON answer is held whole until it is metered; images in base64 are the longest seen.
    answer_bytes: Bytes = 64 * MIB
    # What a caller may lag behind the provider before it is cut: minutes of text.
    stream_buffer_bytes: Bytes = 1 * MIB
    # A caller that reads nothing for this long is as gone as one that hung up: nobody's hold waits for it.
    stalled_caller_s: Seconds = 60.0
    # Request bodies of all calls in flight together; beyond it, callers are told to come back.
    bodies_bytes: Annotated[int, Meta(ge=1 * MIB, le=64 * 1024 * MIB)] = 512 * MIB
    # How many more providers a call is tried at when one fails before any output. Each try has a hold of its own, and
    # one that timed out may have been billed: three in a row are an outage that a fourth does not mend.
    failover_attempts: Annotated[int, Meta(ge=0, le=10)] = 2
    # Since the first hold; later than this no further try begins. Clients themselves give up after 600.
    failover_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    # The longest `Prefer: wait=N` that is kept: a person needs minutes, and clients themselves give up after 600.
    approval_wait_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    # Of a tool's arguments, what whoever answers is shown, kept while the question is open: a screen; 0 keeps nothing.
    approval_arguments_chars: Annotated[int, Meta(ge=0, le=64 * KIB)] = 4 * KIB
    # How long a stream that waits for an approval is silent before its headers go out: proxies cut silence after 60.
    early_headers_s: Annotated[float, Meta(gt=0, le=86_400)] = 30.0
    # After the caller is gone, where stopping would not stop the bill: read on this long for the exact usage.
    finish_after_hangup_s: Annotated[float, Meta(ge=0, le=86_400)] = 120.0


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream: where it is, how it is spoken to, and how it bills."""

    # The families of APIs that it speaks; the caller's own decides which of them is used.
    dialects: Annotated[tuple[Literal["openai", "anthropic", "gemini"], ...], Meta(min_length=1)]
    base_url: BaseUrl
    # Left out: a server without keys, such as one's own.
    api_key: KeySource | None = None
    # A call leaves only through a key of its identity's environment. Left out: all.
    environments: Annotated[tuple[Environment, ...], Meta(min_length=1)] | None = None
    # True only where closing the connection is known to end what is billed. Nobody promises it, so: no.
    abort_stops_billing: bool = False
    # With `abort_stops_billing`: how many tokens may still be generated and billed after the last one seen.
    tail_tokens: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    # Whether an answer with status 500 or above may be billed. Cautious: yes.
    bills_errors: bool = True
    # So many failures in a row, and calls are refused for a while instead of being sent; 0: never. Fewer could be the
    # bad luck of one caller, and a refusal is for all of them.
    breaker_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    # The field that limits output, thinking included. Servers older than 2024 know only "max_tokens".
    output_limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    # The header that takes the key as it is, such as "api-key". Left out: as the API of the call has it.
    api_key_header: Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    # What stands in the place of /v1 in OpenAI's paths: "/v4", or "" where nothing does. Nearly everybody has /v1.
    version_path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._-]{1,64}){0,4}$")] = "/v1"
    # Azure OpenAI by deployments: its api-version. Left out: any other server, and Azure's own /openai/v1.
    azure_api_version: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None
    # Fields that this server refuses because it does not know them: left out of what it is sent.
    omit_fields: tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")], ...] = ()
    # Whose prices of the shipped price book hold here. Left out: found by the host of base_url; "none": nobody's.
    price_provider: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] | None = None
    # Whether the name may lead to an address of a private network. Not, unless it is said.
    private_network: bool = False
    # A connection takes milliseconds; longer means it is not coming.
    connect_timeout_s: Seconds = 10.0
    # Thinking models are silent for minutes; clients themselves wait 600.
    first_byte_timeout_s: Seconds = 600.0
    # Streams send something at least every few seconds.
    idle_timeout_s: Seconds = 120.0
    # No hold stays open longer than this.
    total_timeout_s: Seconds = 1800.0

    @property
    def price_table(self) -> str | None:
        """The shipped price table of this provider: its id, the URL to find it by, or None for none."""
        if self.price_provider is not None:
            return self.price_provider if self.price_provider != "none" else None
        url = self.base_url
        known_by_name = not (url.private or self.private_network)
        return f"{url.scheme}://{url.host}{url.path_prefix}" if known_by_name else None


class NotifyScope(msgspec.Struct, frozen=True, kw_only=True):
    """What a notice has to be about. All that is named must match; of several values any one."""

    identity: Values | None = None
    team: Values | None = None
    owner: Values | None = None
    environment: Values | None = None
    session: Values | None = None
    budget: Values | None = None
    provider: Values | None = None
    model: Values | None = None


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One receiver of notices: a webhook of its own, told what it wants to know."""

    # What metrics, logs and commands call it; what waits for it in the store waits under this name.
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
    url: WebhookUrl
    # It signs every body, so a receiver knows that it is ours: whsec_ and base64, as Standard Webhooks has it.
    secret: KeySource
    # Names of notices, or patterns such as "budget.*". Everything: whoever wants less says so.
    events: Annotated[tuple[str, ...], Meta(min_length=1)] = ("*",)
    # Less grave ones are not sent.
    min_severity: Severity = "info"
    scope: NotifyScope = field(default_factory=NotifyScope)
    # Whether the name may lead to an address of a private network, and be spoken to in plain http.
    private_network: bool = False
    # Standard Webhooks recommends 15 to 30 for a receiver that does its work before it answers.
    timeout_s: Annotated[float, Meta(gt=0, le=120)] = 20.0
    # A receiver that restarts is back by then; each further pause is four times as long, up to four hours.
    first_retry_s: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    # A receiver that is down over night still hears of it; after that a person has to send it again.
    give_up_after_s: Annotated[float, Meta(gt=0, le=7 * 86_400)] = 86_400.0

    @property
    def wanted(self) -> Wanted:
        """What it is told of."""
        scope = {name: getattr(self.scope, name) for name in NotifyScope.__struct_fields__}
        return Wanted(self.events, self.min_severity, {name: values for name, values in scope.items() if values})


Days = Annotated[int, Meta(ge=1, le=36_500)]


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """For how many days records are kept. Balances, daily sums of spend, changes and the registry are kept for good."""

    # 13 months: this month beside the same one a year ago, and an invoice of last year with its calls beside it. A call
    # takes about 1.1 KB of disk.
    calls_days: Days = 400
    # 18 months: the accounts of a year are audited in the middle of the next, and a presumed charge waits for its bill
    # until then. At least 100: a month's bill comes in the next one, and can be disputed for 60 days. Never shorter
    # than `calls_days`.
    presumed_days: Annotated[int, Meta(ge=100, le=36_500)] = 550
    # They are few, and a yearly review reads them.
    findings_days: Days = 400
    # From the expiry of their credential: as long as the calls whose story they are part of.
    sessions_days: Days = 400
    # Spend by session and quarter of an hour: a month against the same month a year ago, in any time zone. The
    # longest window of a budget is 31 days, and a new budget begins with what was spent in its window.
    spend_recent_days: Annotated[int, Meta(ge=35, le=36_500)] = 400
    # Tickets that were answered, and grants that are over: as long as the calls that went by them.
    approvals_days: Days = 400


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The process. Paths are absolute once they are read."""

    # The data plane. Loopback: nobody is reachable by accident.
    listen: Address = Address("127.0.0.1", 8787)
    # "terminated": something in front speaks TLS, so listening beyond this machine is meant.
    tls: Literal["terminated"] | None = None
    # The gateway's own TLS: certificate with its chain, and key, in PEM.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    # Whose word on the caller's address counts. Nobody's, unless it is named.
    trusted_proxies: Networks = NO_NETWORKS
    # How callers know the gateway, where that is not `listen`: what its metadata says of itself.
    public_url: BaseUrl | None = None
    # Journal, signing keys, the admin credential. Readable by its owner alone.
    state: Path = Path(".comptroller")
    store: Literal["sqlite"] = "sqlite"
    registry: Path = Path("registry.toml")
    # The folder of *.cedar files, installed as one version with the registry. Not there: no policy is installed.
    policies: Path = Path("policies")
    # "power": a hold is on the disk itself before anything leaves. "process": it survives a killed process only.
    durability: Literal["power", "process"] = "power"
    # How long calls in flight may finish after SIGTERM; Kubernetes waits 30 unless told.
    drain_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    admin: AdminSettings = field(default_factory=AdminSettings)
    log: LogSettings = field(default_factory=LogSettings)
    traces: TraceSettings = field(default_factory=TraceSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    chat: ChatSettings = field(default_factory=ChatSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    notify: tuple[NotifySettings, ...] = ()
    retention: RetentionSettings = field(default_factory=RetentionSettings)
    providers: dict[str, ProviderSettings] = field(default_factory=dict[str, ProviderSettings])
    servers: dict[str, ServerSettings] = field(default_factory=dict[str, ServerSettings])

    @property
    def shared(self) -> bool:
        """Whether both planes are on one listener, which is that of the data plane then."""
        return self.listen == self.admin.listen

    @property
    def url(self) -> str:
        """Where the data plane is."""
        return f"{'http' if self.tls_cert is None else 'https'}://{self.listen}"

    @property
    def known_as(self) -> str:
        """Where callers find the data plane."""
        return self.url if self.public_url is None else self.public_url.text

    @property
    def admin_cert(self) -> Path | None:
        """The certificate that the admin plane is reached with; None: without TLS."""
        return self.tls_cert if self.shared else self.admin.tls_cert

    @property
    def admin_url(self) -> str:
        """Where the admin plane is."""
        return f"{'http' if self.admin_cert is None else 'https'}://{self.admin.listen}"
