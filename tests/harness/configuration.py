"""The two files of a gateway in front of a sandbox, as plain dicts with good defaults."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

Table = dict[str, Any]

KEY_VARIABLE = "SANDBOX_KEY"

# What the sandbox takes, USD per million tokens (docs/sandbox.md): input, output, read from the cache, written to it,
# and written to be kept for an hour.
SANDBOX_PRICES = {
    "sandbox-large": ("3.00", "15.00", "0.30", "3.75", "6.00"),
    "sandbox-small": ("0.15", "0.60", "0.0375", "0.1875", "0.30"),
    "sandbox-reasoner": ("1.10", "4.40", "0.275", "1.375", "2.20"),
}
TIER_FACTORS = {"default": Decimal(1), "priority": Decimal(2), "flex": Decimal("0.5"), "batch": Decimal("0.5")}
_FROM = date(2026, 1, 1)


def provider(base_url: str, **changes: Any) -> Table:
    """A provider that speaks all families, with short patience."""
    return {
        "dialects": ["openai", "anthropic", "gemini"],
        "base_url": base_url,
        "api_key": f"env:{KEY_VARIABLE}",
        "connect_timeout_s": 5.0,
        "first_byte_timeout_s": 20.0,
        "idle_timeout_s": 20.0,
        "total_timeout_s": 60.0,
    } | changes


def process(base_url: str, **changes: Any) -> Table:
    """comptroller.toml without the addresses, which the process picks: one provider named `sandbox`."""
    return {
        "state": "state",
        "registry": "registry.toml",
        "durability": "process",
        "drain_s": 5.0,
        "providers": {"sandbox": provider(base_url)},
    } | changes


def identity(team: str, kind: str = "agent", **changes: Any) -> Table:
    return {
        "kind": kind,
        "team": team,
        "owner": f"{team}-lead@acme.example",
        "purpose": f"tries what a {kind} may spend",
        "environment": "testing",
    } | changes


def model(*providers: str, **changes: Any) -> Table:
    return {
        "providers": list(providers),
        "class": "standard",
        "max_output_tokens": 4096,
        "context_window": 128_000,
        "max_image_tokens": 765,
        "overhead_tokens": 0,
    } | changes


def prices() -> list[Table]:
    """The sandbox's own table in all its tiers. Dated names cost the same."""
    return [
        {
            "model": f"{name}*",
            "from": _FROM,
            "service_tier": tier,
            "input": _times(each[0], factor),
            "output": _times(each[1], factor),
            "cache_read": _times(each[2], factor),
            "cache_write": _times(each[3], factor),
            "cache_write_1h": _times(each[4], factor),
            "audio_input": _times(each[0], factor),
        }
        for name, each in SANDBOX_PRICES.items()
        for tier, factor in TIER_FACTORS.items()
    ]


def media_prices() -> list[Table]:
    """What the sandbox takes for images and sound (sandbox/media/prices.py)."""
    lines: list[Table] = [
        {"model": "sandbox-image", "input": "5", "image_input": "10", "output": "40"},
        {"model": "sandbox-voice", "input": "0.6", "output": "12"},
        {"model": "sandbox-speaker", "character": "15"},
        {"model": "sandbox-hearing", "input": "2.5", "audio_input": "6", "output": "10"},
        {"model": "sandbox-listener", "audio_hour": "0.36"},
        {"model": "sandbox-picture", "image": "40"},
        {"model": "sandbox-picture", "service_tier": "hd-1024x1024", "image": "80"},
        {"model": "sandbox-picture", "service_tier": "hd-1024x1792", "image": "120"},
    ]
    return [{"from": _FROM, "input": "0", "output": "0", **line} for line in lines]


def budget(name: str, limit: str, window: str = "lifetime", **changes: Any) -> Table:
    """A limit for the whole organization, unless `scope` says otherwise."""
    return {"name": name, "scope": {"organization": "acme"}, "limit": limit, "window": window} | changes


def registry(
    budgets: Sequence[Table] = (),
    identities: Mapping[str, Table] | None = None,
    models: Mapping[str, Table] | None = None,
    **changes: Any,
) -> Table:
    """registry.toml: two teams, an agent in each, every sandbox model. Without budgets nobody is limited."""
    members = identities or {"agent/ant": identity("red"), "agent/bee": identity("blue")}
    teams = sorted({member["team"] for member in members.values()})
    return {
        "organization": {"name": "acme", "trust_domain": "acme.example"},
        "teams": {team: {"cost_center": f"CC-{number}"} for number, team in enumerate(teams, 1)},
        "owners": {f"{team}-lead@acme.example": {"team": team} for team in teams},
        "identities": dict(members),
        "models": dict(models or {"sandbox-*": model("sandbox")}),
        "prices": prices(),
        "budgets": list(budgets),
    } | changes


def _times(usd: str, factor: Decimal) -> str:
    return format((Decimal(usd) * factor).normalize(), "f")
