"""Calls page by page: each call once, whatever ends between two pages."""

from comptroller.control.call_record import CallRecord
from comptroller.control.interfaces import CallFilter
from comptroller.store.store import Store
from tests.store.samples import NOW_NS, held, refused, settled


async def page(store: Store, before: CallRecord | None, limit: int, **wanted: str) -> list[CallRecord]:
    last = None if before is None else before.facts.call_id
    return list(await store.calls(CallFilter(before=last, limit=limit, **wanted)))


async def all_pages(store: Store, limit: int, **wanted: str) -> list[str]:
    found: list[CallRecord] = []
    while more := await page(store, found[-1] if found else None, limit, **wanted):
        found += more
    return [record.facts.call_id for record in found]


async def test_pages_are_the_whole_list_in_its_order(store: Store) -> None:
    for number in range(20):
        about = {"at_ns": NOW_NS + number // 3}  # several at the same instant
        store.journal.append(refused(number, **about) if number % 5 == 0 else held(number, **about))
        if number % 5 in {1, 2}:
            store.journal.append(settled(number))
    await store.fold()
    for wanted in ({}, {"outcome": "refused"}, {"outcome": "open"}, {"outcome": "completed"}):
        whole = [record.facts.call_id for record in await page(store, None, 100, **wanted)]
        assert whole
        assert [await all_pages(store, limit, **wanted) for limit in (1, 3, 7)] == [whole] * 3


async def test_after_a_call_that_nobody_knows_comes_nothing(store: Store) -> None:
    store.journal.append(refused(1))
    await store.fold()
    assert await store.calls(CallFilter(before="call_unknown")) == []
