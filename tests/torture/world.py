"""The small world that is tortured: two ways a provider bills, six identities in three teams, budgets that overlap."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from tests.harness.configuration import Table, budget, identity, model, process, provider, registry

Mode = Literal["mixed", "kill", "term", "overrun", "soak"]
MODES: tuple[Mode, ...] = ("mixed", "kill", "term", "overrun")  # a soak is asked for by name

STEADY = "steady"
AGAIN = "again"  # the same provider by another key: where calls go that failed at the first
VISIBLE = "visible"
KEYS = {
    "STEADY_KEY": "sandbox-" + "st3ady-k3y-of-torture",
    "AGAIN_KEY": "sandbox-" + "aga1n-k3y-of-torture",
    "VISIBLE_KEY": "sandbox-" + "v1sible-k3y-of-torture",
}

# The provider `visible` stops billing when we hang up, at most so many tokens later. Its streams run no faster than
# VISIBLE_TOKENS_PER_S and no further ahead than VISIBLE_AHEAD: what is left covers three seconds until it notices.
TAIL_TOKENS = 320
VISIBLE_TOKENS_PER_S = 40.0
VISIBLE_AHEAD = 200
VISIBLE_MODEL = "sandbox-large"

# Shorter than any hang, longer than any honest pause.
SILENCE_S = 2.0
TOTAL_S = 10.0
HANGUP_S = 1.5

IDENTITIES: Mapping[str, Table] = {
    "agent/ant": identity("red"),
    "service/bee": identity("red", "service"),
    "agent/cat": identity("blue"),
    "human/dana": identity("blue", "human"),
    "tool/elk": identity("green", "tool"),
    "agent/fox": identity("green"),
}
LATE_BUDGET = "blue-late"
STRANGER = {"Authorization": "Bearer cptr_" + "nobody"}


def process_table(sandbox_url: str, durability: str, drain_s: float) -> Table:
    """comptroller.toml: one sandbox behind two providers, with the patience of a run that is in a hurry."""
    patience = {
        "connect_timeout_s": SILENCE_S,
        "first_byte_timeout_s": SILENCE_S,
        "idle_timeout_s": SILENCE_S,
        "total_timeout_s": TOTAL_S,
    }
    steady = provider(sandbox_url, api_key="env:STEADY_KEY", **patience)
    again = provider(sandbox_url, api_key="env:AGAIN_KEY", **patience)
    visible = provider(
        sandbox_url, api_key="env:VISIBLE_KEY", abort_stops_billing=True, tail_tokens=TAIL_TOKENS, **patience
    )
    return process(
        sandbox_url,
        durability=durability,
        drain_s=drain_s,
        limits={"stream_buffer_bytes": 16 * 1024, "finish_after_hangup_s": HANGUP_S, "body_timeout_s": 3.0},
        providers={STEADY: steady, AGAIN: again, VISIBLE: visible},
    )


def models(mode: Mode) -> Mapping[str, Table]:
    """What is stopped after overruns has no substitute, so that it can be seen to be stopped."""
    serving = (STEADY,) if mode == "overrun" else (STEADY, AGAIN)
    return {
        # More than a first slice, so that its streams hold in slices.
        VISIBLE_MODEL: model(VISIBLE, visible_output=True, max_output_tokens=12_000) | {"class": "frontier"},
        "sandbox-*": model(*serving, max_output_tokens=8192),
    }


# Limits that are raised while the run goes on (see `Raises`), so that something is always nearly used up.
FIRST_LIMITS: Mapping[str, int] = {
    "all-usd": 1_500_000_000,
    "team-red-usd": 600_000_000,
    "identity-usd": 300_000_000,
    "identity-tokens": 300_000,
    "frontier-usd": 1_000_000_000,
    "steady-calls": 600,
}
_KINDS = ("agent", "service", "human", "tool")
# How much larger all limits are: where bounds are raised on purpose holds are dear, and a soak shall not run dry.
_FACTORS: Mapping[str, int] = {"overrun": 50, "soak": 20_000}


def budgets(limits: Mapping[str, int], mode: Mode, *, late: bool) -> list[Table]:
    """Every unit, every kind of window, pools and instances, a shadow; `late` comes while calls are in flight."""
    factor = _FACTORS.get(mode, 1)
    rising = [
        budget("all-usd", usd(limits["all-usd"]), "month", time_zone="Europe/Berlin"),
        budget("team-red-usd", usd(limits["team-red-usd"]), "day", scope={"team": "red"}),
        budget("identity-usd", usd(limits["identity-usd"]), "hour", per="identity", time_zone="Asia/Kolkata"),
        budget("identity-tokens", f"{limits['identity-tokens']} tokens", per="identity"),
        budget("frontier-usd", usd(limits["frontier-usd"]), "week", scope={"model_class": "frontier"}),
        budget("steady-calls", f"{limits['steady-calls']} calls", scope={"provider": STEADY}),
    ]
    fixed = [
        budget("session-usd", usd(250_000_000 * factor), per="session"),
        budget("session-calls", f"{60 * factor} calls", "day", per="session"),
        budget("kinds-shadow", "0.01 USD", scope={"kind": ["agent", "tool"]}, mode="shadow"),
    ]
    after = [budget(LATE_BUDGET, "1000.00 USD", scope={"team": "blue"})] if late else []
    return [*rising, *fixed, *after]


def registry_table(limits: Mapping[str, int], mode: Mode, *, late: bool) -> Table:
    ample = {"usd": "100000000.00", "model_calls": 1_000_000_000, "wall_clock_s": 86_400}  # budgets are what is tried
    return registry(budgets(limits, mode, late=late), IDENTITIES, models(mode), bounds=dict.fromkeys(_KINDS, ample))


def first_limits(mode: Mode) -> dict[str, int]:
    factor = _FACTORS.get(mode, 1)
    return {name: limit * factor for name, limit in FIRST_LIMITS.items()}


def raised(
    limits: Mapping[str, int], rows: Sequence[Mapping[str, Any]], shares: Mapping[str, float], mode: Mode
) -> dict[str, int]:
    """New limits: what is posted now and a share of the first limit; never lower than before."""
    posted: dict[str, int] = {}
    for row in rows:
        amount = nanos(row["posted"]) if row["unit"] == "usd" else int(row["posted"])
        posted[row["name"]] = max(posted.get(row["name"], 0), amount)
    first = first_limits(mode)
    return {name: max(limit, posted.get(name, 0) + int(first[name] * shares[name])) for name, limit in limits.items()}


def usd(amount_nanos: int) -> str:
    """Nano-USD as a limit of registry.toml."""
    return f"{Decimal(amount_nanos).scaleb(-9):f} USD"


def nanos(amount: str) -> int:
    """A decimal string of USD as nano-USD."""
    return int(Decimal(amount).scaleb(9))
