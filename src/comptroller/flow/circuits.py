"""The circuits of all providers (core/routing/breaker.py has the rule), and what is said to whom they refuse.

A provider that fails has one circuit, whatever is asked of it. A 429 is about a model, for that is how providers count:
each model at each provider has a circuit for those. Only what is not closed and new is kept, so a gateway whose
providers answer keeps nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.refusal import RETRY_AFTER_MOST_S, Refusal
from comptroller.core.routing.breaker import CLOSED, Circuit, Sign

EVERY_MODEL = ""
_CIRCUITS_MOST = 1_000  # names of models come from callers
_Key = tuple[str, str]  # provider, model


class Circuits:
    """Which circuits are not closed, or nearly open."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, Circuit] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether any of them is not closed, or has lately failed."""
        return bool(self._known)

    def refused_until(self, provider: str, model: str, now_ns: int) -> int:
        """Until when no call for this model is to go there; 0: it may."""
        if not self._known:
            return 0
        found = (self._known.get(key, CLOSED) for key in _keys(provider, model))
        return max((each.until_ns for each in found if each.refuses(now_ns)), default=0)

    def begun(self, provider: str, model: str, now_ns: int) -> bool:
        """An attempt begins there. Returns whether it tries the provider for all others."""
        tries = False
        for key in _keys(provider, model) if self._known else ():
            circuit = self._known.get(key, CLOSED)
            if circuit.state != "closed":
                self._known[key] = circuit.begun(now_ns)
                tries = True
        return tries

    def heard(self, provider: str, model: str) -> None:
        """The head of an answer has come."""
        for key in _keys(provider, model) if self._known else ():
            circuit = self._known.get(key)
            if circuit is not None:
                self._known[key] = circuit.heard()

    def ended(
        self,
        provider: str,
        model: str,
        sign: Sign,
        now_ns: int,
        wait_ns: int = 0,
        *,
        too_many: bool,
        probe: bool,
        most: int,
    ) -> tuple[Circuit, Circuit] | None:
        """An attempt has ended like this. Returns how the circuit that it is about stood and
        stands, if it is opened or closed by that.

        `too_many`: it failed with a 429. `probe`: it tried the provider for all. `most`: failures that open a circuit.
        """
        changed = None
        if not most:
            return None
        for key in _keys(provider, model):
            before = self._known.get(key, CLOSED)
            concerns = sign != "failed" or too_many == (key[1] != EVERY_MODEL)
            after = before.after(sign if concerns else "nothing", now_ns, wait_ns, probe=probe, most=most)
            if after is before:
                continue
            if after is CLOSED:
                del self._known[key]
            else:
                self._keep(key, after)
            if concerns and (before.state != after.state or before.times != after.times):
                changed = before, after
        return changed

    def refusing(self, provider: str, now_ns: int) -> Mapping[str, int]:
        """Until when calls are refused rather than sent to a provider, by model; every one of them: an empty name."""
        return {
            model: at.until_ns for (name, model), at in self._known.items() if name == provider and at.refuses(now_ns)
        }

    def _keep(self, key: _Key, circuit: Circuit) -> None:
        self._known[key] = circuit
        self._known.move_to_end(key)
        if len(self._known) > _CIRCUITS_MOST:
            self._known.popitem(last=False)


def _keys(provider: str, model: str) -> tuple[_Key, ...]:
    every = (provider, EVERY_MODEL)
    return (every, (provider, model)) if model else (every,)


def unavailable(asked: str, providers: Mapping[str, int], now_ns: int) -> Refusal:
    """What a caller hears whom no provider may be asked for. `providers`: those that fail, each with until when."""
    until_ns = min(providers.values())
    wait_s = max(1, -(-(until_ns - now_ns) // NANOS_PER_SECOND))
    one = len(providers) == 1
    who = f"The provider {next(iter(providers))}" if one else f"Each of the providers {', '.join(providers)}"
    return Refusal(
        code="upstream_unavailable",
        sentence=f"{who} has failed {asked} many times in a row, so nothing is sent there for now.",
        hint=f"Nothing was charged. Send it again in {wait_s} s: one call then finds out whether it answers.",
        resets_at=format_instant(until_ns),
        retry_after_s=min(wait_s, RETRY_AFTER_MOST_S),
    )
