"""The circuits of all providers: which failure is about which of them, and what is kept."""

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.routing.breaker import FAILURES_MOST, OPEN_NS, PROBE_NS, Sign
from comptroller.flow.circuits import EVERY_MODEL, Circuits, unavailable

NOW = 1_795_000_000 * NANOS_PER_SECOND
MOST = 3


def ended(
    circuits: Circuits, model: str, sign: Sign, *, too_many: bool = False, probe: bool = False, now_ns: int = NOW
) -> None:
    circuits.ended("p", model, sign, now_ns, too_many=too_many, probe=probe, most=MOST)


def refused(circuits: Circuits, model: str, now_ns: int = NOW) -> bool:
    return bool(circuits.refused_until("p", model, now_ns))


def failing(model: str, *, too_many: bool = False) -> Circuits:
    circuits = Circuits()
    for _ in range(MOST):
        ended(circuits, model, "failed", too_many=too_many)
    return circuits


def test_a_failure_is_about_the_provider_whatever_was_asked() -> None:
    circuits = failing("a")
    assert refused(circuits, "a")
    assert refused(circuits, "b")
    assert refused(circuits, EVERY_MODEL), "such as files"
    assert not circuits.refused_until("q", "a", NOW)


def test_a_429_is_about_one_model() -> None:
    circuits = failing("a", too_many=True)
    assert refused(circuits, "a")
    assert not refused(circuits, "b")
    assert not refused(circuits, EVERY_MODEL)
    ended(circuits, "b", "answered")
    assert refused(circuits, "a"), "that another model is answered says nothing of this one"
    ended(circuits, "a", "answered")
    assert not circuits, "nothing is kept of what is well"


def test_one_kind_of_failure_does_not_hide_the_other() -> None:
    circuits = Circuits()
    for _ in range(MOST - 1):
        ended(circuits, "a", "failed", too_many=True)
        ended(circuits, "a", "failed")
    assert not refused(circuits, "a")
    ended(circuits, "a", "failed")
    assert refused(circuits, "b")


def test_the_one_that_tries_it_and_meets_the_other_kind_of_failure_leaves_it_to_the_next() -> None:
    circuits, later = failing("a"), NOW + OPEN_NS
    assert circuits.begun("p", "a", later)
    assert refused(circuits, "b", later)
    ended(circuits, "a", "failed", too_many=True, probe=True, now_ns=later)
    assert not refused(circuits, "b", later)


def test_only_the_call_that_tries_it_is_told_so() -> None:
    circuits, later = failing("a"), NOW + OPEN_NS
    assert not Circuits().begun("p", "a", NOW)
    assert not circuits.begun("q", "a", later)
    assert circuits.begun("p", "a", later)
    circuits.heard("p", "a")
    assert not circuits.begun("p", "a", later), "it answers: calls go there as always"


def test_a_provider_without_a_breaker_is_never_refused() -> None:
    circuits = Circuits()
    for _ in range(10 * FAILURES_MOST):
        assert circuits.ended("p", "a", "failed", NOW, too_many=False, probe=False, most=0) is None
    assert not refused(circuits, "a")


def test_what_opens_and_closes_is_told_once() -> None:
    circuits, told = Circuits(), list[bool]()
    for number in range(MOST + 2):
        told.append(
            circuits.ended("p", "a", "failed", NOW + number, too_many=False, probe=False, most=MOST) is not None
        )
    assert told == [False, False, True, False, False]
    circuits.begun("p", "a", NOW + OPEN_NS)
    circuits.heard("p", "a")
    changed = circuits.ended("p", "a", "answered", NOW + OPEN_NS, too_many=False, probe=True, most=MOST)
    assert changed is not None
    assert changed[1].times == 0


def test_which_models_are_refused_until_when() -> None:
    circuits = failing("a", too_many=True)
    assert circuits.refusing("p", NOW) == {"a": NOW + OPEN_NS}
    assert circuits.refusing("q", NOW) == {}
    assert circuits.refusing("p", NOW + OPEN_NS) == {}


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    circuits = Circuits()
    for number in range(3_000):
        ended(circuits, f"model-{number}", "failed", too_many=True)
    assert len(circuits._known) <= 1_000


def test_the_time_to_wait_is_exact_up_to_a_minute_and_true_in_the_body() -> None:
    for until_ns, header_s in ((1, 1), (PROBE_NS, 10), (300 * NANOS_PER_SECOND, 60)):
        said = unavailable("a", {"p": NOW + until_ns, "q": NOW + 400 * NANOS_PER_SECOND}, NOW)
        assert said.retry_after_s == header_s
        assert said.resets_at is not None
        assert "p, q" in said.sentence
