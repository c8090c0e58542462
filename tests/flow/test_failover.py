"""Which failures another provider could mend, as a table."""

import pytest

from comptroller.flow.failover import MENDABLE_STATUSES, mendable
from comptroller.flow.outcome import OUTCOMES, Outcome

# Without a status nothing of an answer has been seen.
WITHOUT: dict[Outcome, bool] = {
    "completed": False,
    "provider_refused": False,
    "provider_error": False,
    "provider_unreachable": True,
    "provider_cut": True,
    "provider_timeout": True,
    "provider_malformed": True,
    "client_gone": False,
    "client_slow": False,
    "stopped": False,
    "drained": False,
    "ledger_unavailable": False,
    "fault": False,
    "crashed": False,
}


def test_every_end_is_decided_on() -> None:
    decided = {outcome: mendable(outcome, None) for outcome in OUTCOMES if outcome in WITHOUT}
    assert decided == WITHOUT
    others = [outcome for outcome in OUTCOMES if outcome not in WITHOUT and mendable(outcome, None)]
    assert others == [], "what is new is not tried elsewhere, unless somebody thinks about it"


@pytest.mark.parametrize("status", range(100, 700))
def test_only_what_is_about_the_provider_is_tried_elsewhere(status: int) -> None:
    about_it = status in {401, 402, 403, 429} or 500 <= status < 600
    assert (status in MENDABLE_STATUSES) == about_it
    for outcome in OUTCOMES:
        assert mendable(outcome, status) == (about_it and outcome.startswith("provider_"))
