"""Admission: places in the order of the requests, over threads and loops; runs that wait."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.agents import QUESTION, UNKNOWN, open_chain

from hoptrail.agents import Budget, KnowledgeBase, Receipt, aask, areplay
from hoptrail.agents.budget.admission import Admission, FairSemaphore
from hoptrail.agents.events import Admitted, Event, Waiting
from hoptrail.rag.errors import SettingsError

LATE = 60.0


def nothing(_ahead: int) -> None:
    return None


def one_at_once(library: KnowledgeBase) -> tuple[KnowledgeBase, FairSemaphore]:
    """The library with a place for one run, and that place."""
    admission = Admission(local=1)
    return replace(library, admission=admission), admission.places(served=False)


def test_places_are_granted_in_the_order_of_the_requests() -> None:
    granted: list[int] = []
    ahead: list[int] = []

    async def main() -> None:
        places = FairSemaphore(2)

        async def one(number: int) -> None:
            await places.acquire(LATE, ahead.append)
            granted.append(number)
            await asyncio.sleep(0)
            places.release()

        await asyncio.gather(*(one(number) for number in range(30)))
        assert await places.acquire(LATE, nothing) is False
        assert await places.acquire(LATE, nothing) is False

    asyncio.run(main())
    assert granted == list(range(30))
    assert ahead == list(range(28))
    with pytest.raises(SettingsError, match="At least 1"):
        FairSemaphore(0)


def test_a_place_is_passed_on_between_threads_with_loops_of_their_own() -> None:
    places, inside, most = FairSemaphore(1), 0, 0

    async def one() -> None:
        nonlocal inside, most
        for _ in range(20):
            await places.acquire(LATE, nothing)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            places.release()

    threads = [threading.Thread(target=lambda: asyncio.run(one())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LATE)
    assert most == 1
    assert asyncio.run(places.acquire(LATE, nothing)) is False


def test_a_request_that_ends_early_keeps_no_place() -> None:
    async def main() -> None:
        places = FairSemaphore(1)
        await places.acquire(LATE, nothing)
        with pytest.raises(TimeoutError):
            await places.acquire(0.01, nothing)
        cancelled = asyncio.create_task(places.acquire(LATE, nothing))
        await asyncio.sleep(0)
        cancelled.cancel()
        granted_and_cancelled = asyncio.create_task(places.acquire(LATE, nothing))
        await asyncio.sleep(0)
        places.release()
        granted_and_cancelled.cancel()
        await asyncio.gather(cancelled, granted_and_cancelled, return_exceptions=True)
        assert await places.acquire(LATE, nothing) is False

    asyncio.run(main())


def test_a_run_whose_seconds_pass_while_it_waits_ends_with_a_receipt_and_replays(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    busy, place = one_at_once(library)
    path = tmp_path / "run.jsonl"
    events: list[Event] = []

    async def main() -> Receipt:
        await place.acquire(LATE, nothing)
        return await aask(
            QUESTION, busy, budget=Budget(seconds=0.1), record=path, on_event=events.append
        )

    receipt = asyncio.run(main())
    assert (receipt.stop, receipt.outcome.kind) == ("out_of_time", "abstained")
    assert receipt.outcome.reason == "out_of_budget"
    assert receipt.usage.seconds >= 0.1
    assert (receipt.usage.searches, receipt.steps) == (0, ())
    assert receipt.generation == 1
    assert events[0] == Waiting(ahead=0)
    again = asyncio.run(areplay(path))
    assert again.same, again.difference


def test_a_run_that_waits_says_so_and_its_seconds_count(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    busy, place = one_at_once(library)
    path = tmp_path / "run.jsonl"
    events: list[Event] = []

    async def main() -> Receipt:
        await place.acquire(LATE, nothing)
        asyncio.get_running_loop().call_later(0.2, place.release)
        return await aask(QUESTION, busy, record=path, on_event=events.append)

    receipt = asyncio.run(main())
    waited = [event for event in events if isinstance(event, Admitted)]
    assert events[:2] == [Waiting(ahead=0), *waited]
    assert waited[0].seconds >= 0.2
    assert receipt.usage.seconds >= 0.2
    assert receipt.outcome.kind == "quotes"
    again = asyncio.run(areplay(path))
    assert again.same, again.difference


def test_a_run_cancelled_while_it_waits_says_so(library: KnowledgeBase) -> None:
    busy, place = one_at_once(library)

    async def main() -> Receipt:
        await place.acquire(LATE, nothing)
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, cancel.set)
        return await aask(QUESTION, busy, cancel=cancel)

    receipt = asyncio.run(main())
    assert (receipt.stop, receipt.outcome.reason) == ("cancelled", "cancelled")


def test_many_runs_at_once_all_end_and_give_their_places_back(store: Path) -> None:
    admission = Admission(local=2)

    async def main(library: KnowledgeBase) -> list[Receipt]:
        shared = replace(library, admission=admission)
        return await asyncio.gather(
            *(aask(QUESTION if n % 2 else UNKNOWN, shared) for n in range(12))
        )

    with open_chain(store) as library:
        receipts = asyncio.run(main(library))
    assert [one.outcome.kind for one in receipts] == ["abstained", "quotes"] * 6
    places = admission.places(served=False)
    assert asyncio.run(places.acquire(LATE, nothing)) is False
    assert asyncio.run(places.acquire(LATE, nothing)) is False
