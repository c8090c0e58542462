"""The index of what providers keep for us: bounded, and an id that comes twice is nobody's."""

import msgspec
import pytest

from comptroller.core.pricing.estimate import Asked, Estimate, ModelLimits, estimate
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Earlier, Kind, Named, StoredObject, is_id, not_yours
from comptroller.flow.kept import Kept

ANT, BEE = "spiffe://acme.example/agent/ant", "spiffe://acme.example/agent/bee"


def made(name: str = "resp_1", call: str = "call_1", **changes: object) -> StoredObject:
    plain = StoredObject(name, "response", "sandbox", "large", ANT, "ses_1", "ses_0", "", call, 1)
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    ("identity", "root", "tenant", "may"),
    [
        (ANT, "ses_0", "", True),
        (ANT, "ses_9", "", True),
        (BEE, "ses_0", "", True),
        (BEE, "ses_9", "", False),
        (ANT, "ses_0", "shop-7", False),
        (BEE, "ses_0", "shop-7", False),
        ("", "", "", False),
    ],
)
def test_an_object_belongs_to_its_identity_and_its_tree_for_its_tenant(
    identity: str, root: str, tenant: str, may: bool
) -> None:
    assert made().belongs_to(identity, root, tenant) is may


def test_an_id_that_comes_twice_is_nobodys() -> None:
    kept = Kept()
    assert kept.add(made()) == made()
    assert kept.add(made(tokens=7)) == made(tokens=7), "the same call may say it again"
    again = kept.add(made(call="call_2", identity=BEE))
    assert not any(again.belongs_to(who, "ses_0", "") for who in (ANT, BEE, ""))
    assert kept.get("resp_1") == again
    assert not kept.change(made(tokens=9)), "whoever had it first does not get it back"
    assert kept.get("resp_1") == again


def test_the_oldest_makes_room() -> None:
    kept = Kept([made(f"resp_{number}") for number in range(4)], most=3)
    assert (len(kept), kept.get("resp_0")) == (3, None)
    kept.add(made("resp_4"))
    assert [kept.get(f"resp_{number}") is None for number in range(5)] == [True, True, False, False, False]
    assert not kept.change(made("resp_0", tokens=1)), "what is forgotten stays forgotten"
    kept.forget("resp_4")
    assert kept.get("resp_4") is None


def test_an_item_is_found_by_its_response_for_as_long_as_that_is_there() -> None:
    kept = Kept([made("resp_1", items="msg_1 rs_1"), made("resp_2", call="call_2", items="msg_2")], most=2)
    assert kept.with_item("rs_1") == kept.get("resp_1")
    assert kept.with_item("msg_2") == kept.get("resp_2")
    assert kept.change(made("resp_1", items="msg_1 rs_1 cntr_1"))
    assert kept.with_item("cntr_1") == kept.get("resp_1")
    kept.add(made("resp_3", call="call_3"))
    kept.add(made("resp_4", call="call_4"))  # the oldest two make room
    assert [kept.with_item(each) for each in ("msg_1", "rs_1", "cntr_1", "msg_2", "")] == [None] * 5


def test_an_item_that_two_makers_are_said_to_have_is_nobodys() -> None:
    kept = Kept([made("resp_1", items="msg_1"), made("resp_2", call="call_2", identity=BEE, items="msg_1")])
    assert kept.with_item("msg_1") is None
    kept.forget("resp_2")
    assert kept.with_item("msg_1") is None


def test_one_makers_code_may_run_on_in_a_container() -> None:
    kept = Kept([made("resp_1", items="cntr_1"), made("resp_2", call="call_2", items="cntr_1")])
    assert kept.with_item("cntr_1") == kept.get("resp_2")
    kept.add(made("resp_3", call="call_3", tenant="shop-7", items="cntr_1"))
    assert kept.with_item("cntr_1") is None


def test_what_lasts_is_not_pushed_out_by_responses() -> None:
    kept = Kept([made("file-1", kind="file", told="{}")], most=2)
    for number in range(5):
        kept.add(made(f"resp_{number}", call=f"call_{number}"))
    assert [each.id for each in kept.of("file", "openai", ANT, "ses_9", "")] == ["file-1"]
    strangers: list[tuple[Kind, str, str, str]] = [
        ("batch", "openai", ANT, ""),
        ("file", "anthropic", ANT, ""),
        ("file", "openai", BEE, ""),
        ("file", "openai", ANT, "shop-7"),
    ]
    for kind, api, identity, tenant in strangers:
        assert list(kept.of(kind, api, identity, "ses_9", tenant)) == []


def test_what_much_is_said_of_makes_room_too() -> None:
    """What a batch's file is bounded by is as long as its maker likes, and uploading it is free."""
    kept = Kept(most_text=100)
    for number in range(5):
        kept.add(made(f"file-{number}", kind="file", bounds="b" * 30, told="t" * 10))
    assert [kept.get(f"file-{number}") is None for number in range(5)] == [True, True, True, False, False]
    assert kept.change(made("file-4", kind="file"))
    kept.forget("file-3")
    kept.add(made("file-5", kind="file", told="t" * 100))
    assert [kept.get(f"file-{number}") is None for number in range(3, 6)] == [True, False, False]
    kept.add(made("file-6", kind="file", told="t" * 101))
    assert len(kept) == 0, "one that is too much by itself is nobody's"


@pytest.mark.parametrize(
    ("text", "good"),
    [("resp_0a-Z", True), ("1", True), ("", False), (".", False), ("..", False), ("a/b", False), ("a?b", False),
     ("a%2fb", False), ("a b", False), ("a\n", False), ("-a", False), ("é", False), ("r" * 200, True),
     ("r" * 201, False)],
)  # fmt: skip
def test_an_id_can_stand_in_a_path(text: str, good: bool) -> None:
    assert is_id(text) is good


def test_a_refusal_does_not_say_which_id_was_asked_for() -> None:
    for named in (Named("resp_1", "response"), Named("resp_1", "response", "previous_response_id")):
        refusal = not_yours(named)
        assert refusal == not_yours(msgspec.structs.replace(named, id="resp_2"))
        assert "resp_1" not in refusal.message


@pytest.mark.parametrize(
    ("earlier", "bound"),
    [
        (None, 100),
        (Earlier("large", 500), 600),
        (Earlier("large", 50_000), 8_000),
        (Earlier("large", None), 8_000),
        (Earlier("small", 500), 8_000),
        (Earlier("", 500, "file"), 600),
    ],
)
def test_what_a_stored_context_adds_to_the_bound(earlier: Earlier | None, bound: int) -> None:
    asked = Asked(model="large", stream=False, text_tokens=100, earlier=() if earlier is None else (earlier,))
    found = estimate(asked, ModelLimits(1_000, 8_000), Tariff({}), 10_000, money=False, metered=True)
    assert isinstance(found, Estimate)
    assert found.input_tokens == bound
    if bound == 8_000 and (earlier is None or earlier.tokens != 50_000):
        endless = estimate(asked, ModelLimits(1_000), Tariff({}), 10_000, money=False, metered=True)
        assert isinstance(endless, Refusal)
        assert (endless.code, "stored response" in endless.sentence) == ("estimate_unbounded", True)
