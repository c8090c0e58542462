"""What a call meets of all rates: looking changes nothing, taking takes from all, a shadow refuses nobody."""

from __future__ import annotations

from comptroller.core.budget.budget import Mode
from comptroller.core.budget.scope import Attribute, Facts
from comptroller.core.instant import NANOS_PER_SECOND as SECOND
from comptroller.core.rate.limits import NONE, Came, RateLimits, binding, blocking, shadowed, take, wait_for
from comptroller.core.rate.rate import Rate, default_burst, parse_pace
from comptroller.core.rate.turns import Ticket


def rate(name: str, limit: str, burst: int | None = None, *, per: Attribute | None = None, mode: Mode = "hard",
         wait_ms: int = 0, team: str = "search") -> Rate:  # fmt: skip
    pace = parse_pace(limit)
    return Rate(name, {"team": (team,)}, pace, burst or default_burst(pace), per, mode, "caller", wait_ms)


def facts(identity: str = "agent/scout", team: str = "search") -> Facts:
    return Facts(({"identity": identity, "team": team},), {"provider": "p", "model": "m"}, (identity, team))


def test_who_is_in_no_scope_meets_nothing() -> None:
    assert RateLimits().met_by(facts(), lambda: 0) is NONE
    assert RateLimits([rate("a", "1 calls/second")]).met_by(facts(team="other"), lambda: 0) is NONE


def test_each_value_has_an_instance_of_its_own() -> None:
    limits = RateLimits([rate("each", "1 calls/second", per="identity")])
    mine, yours = limits.met_by(facts("agent/a"), lambda: 0), limits.met_by(facts("agent/b"), lambda: 0)
    take(mine, 0, 0)
    assert blocking(mine, 0, 0)
    assert not blocking(yours, 0, 0)
    assert [each.instance for each in limits.limiters(0)] == ["agent/a"]
    take(yours, 0, 0)
    assert [each.instance for each in limits.limiters(0)] == ["agent/a", "agent/b"]


def test_looking_changes_nothing_and_taking_takes_from_all() -> None:
    limits = RateLimits(
        [rate("calls", "2 calls/second"), rate("tokens", "100 tokens/second"), rate("few", "2 calls at once")]
    )
    met = limits.met_by(facts(), lambda: 0)
    for _ in range(10):
        assert not blocking(met, 60, 0)
    taken = take(met, 60, 0)
    assert [(each.rate.name, each.remaining(0)) for each in met.hard] == [("calls", 1), ("tokens", 40), ("few", 1)]
    assert [each.limiter.rate.name for each in blocking(met, 60, 0)] == ["tokens"]
    taken.end(Came(1, 10))
    assert [each.remaining(0) for each in met.hard] == [1, 90, 2]


def test_what_never_left_gives_its_call_back() -> None:
    met = RateLimits([rate("calls", "1 calls/hour")]).met_by(facts(), lambda: 0)
    taken = take(met, 0, 0)
    assert blocking(met, 0, 0)
    taken.end(Came(0, 0))
    assert not blocking(met, 0, 0)


def test_a_call_is_told_of_what_lets_it_through_last() -> None:
    met = RateLimits([rate("slow", "1 calls/hour"), rate("fast", "1 calls/second")]).met_by(facts(), lambda: 0)
    take(met, 0, 0)
    told = binding(blocking(met, 0, 0))
    assert (told.limiter.rate.name, told.free_at_ns, told.never) == ("slow", 3600 * SECOND, False)


def test_a_call_larger_than_a_burst_will_never_fit() -> None:
    met = RateLimits([rate("slow", "1 calls/hour"), rate("tokens", "100 tokens/minute")]).met_by(facts(), lambda: 0)
    take(met, 0, 0)
    told = binding(blocking(met, 101, 0))
    assert (told.limiter.rate.name, told.amount, told.never) == ("tokens", 101, True)
    assert wait_for([told], 0, 0) is None


def test_a_shadow_counts_as_if_it_refused_and_refuses_nothing() -> None:
    met = RateLimits([rate("try", "2 calls/minute", 2, mode="shadow")]).met_by(facts(), lambda: 0)
    would_refuse = list[bool]()
    for _ in range(5):
        would_refuse.append(bool(shadowed(met, 0, 0)))
        take(met, 0, 0)
    assert not blocking(met, 0, 0)
    assert would_refuse == [False, False, True, True, True]
    assert not shadowed(met, 0, 30 * SECOND)  # as a hard one would let it through by now


def test_a_newcomer_does_not_overtake_whoever_waits() -> None:
    met = RateLimits([rate("calls", "1 calls/second", wait_ms=10_000)]).met_by(facts(), lambda: 0)
    (limiter,) = met.hard
    take(met, 0, 0)
    first = Ticket("agent/a", 1)
    limiter.turns.join(first)
    assert not blocking(met, 0, SECOND, first, "agent/a")
    (told,) = blocking(met, 0, SECOND, None, "agent/b")
    assert told.free_at_ns == 2 * SECOND


def test_a_call_waits_only_where_every_limit_lets_it_through_in_time() -> None:
    limits = RateLimits([rate("patient", "1 calls/second", wait_ms=1_500), rate("strict", "1 calls/minute")])
    met = limits.met_by(facts(), lambda: 0)
    take(met, 0, 0)
    both = blocking(met, 0, 0)
    assert wait_for(both, 0, 0) is None
    patient = both[:1]
    chosen = wait_for(patient, 0, 0)
    assert chosen is not None
    assert chosen.limiter.rate.name == "patient"
    assert wait_for(patient, SECOND, 0) is None  # it has waited: what is left of its time is too short


def test_a_rate_that_comes_back_knows_who_is_still_in() -> None:
    known = [rate("a", "2 calls at once"), rate("b", "2 calls at once")]
    limits = RateLimits(known)
    met = limits.met_by(facts(), lambda: 0)
    first, second = take(met, 0, 0), take(met, 0, 0)
    limits.replace(known[1:], 0)
    assert [each.rate.name for each in limits.standing()] == ["b"]
    limits.replace([], 0)
    first.end(Came(1, 0))
    limits.replace([rate("a", "1 calls at once")], 0)
    met = limits.met_by(facts(), lambda: 0)
    assert [each.limiter.rate.name for each in blocking(met, 0, 0)] == ["a"]
    second.end(Came(1, 0))
    assert not blocking(met, 0, 0)
    limits.replace([], 0)
    limits.replace(known, 0)
    assert not limits.standing(), "what is empty is not kept"


def test_a_change_takes_effect_at_once_and_keeps_the_count() -> None:
    limits = RateLimits([rate("a", "2 calls at once"), rate("b", "1 calls/second")])
    taken = take(limits.met_by(facts(), lambda: 0), 0, 0)
    gone = limits.replace([rate("a", "1 calls at once")], 0)
    assert [each.rate.name for each in gone] == ["b"]
    met = limits.met_by(facts(), lambda: 0)
    assert [each.limiter.rate.name for each in blocking(met, 0, 0)] == ["a"]
    taken.end(Came(1, 0))
    assert not blocking(met, 0, 0)
    assert limits.replace([rate("a", "1 calls at once")], 0) == ()


def test_a_rate_that_nobody_came_to_is_shown_as_unused() -> None:
    (shown,) = RateLimits([rate("each", "5 calls/second", per="identity")]).limiters(0)
    assert (shown.instance, shown.used(0), shown.remaining(0)) == ("", 0, 5)
