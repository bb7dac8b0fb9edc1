"""Quotas over many runs: no minute has too much, first come first served, nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock

from hoptrail.agents.budget.quota import MINUTE, Draw, Quota, Window
from hoptrail.rag.errors import SettingsError

FOREVER = 3_600.0


@pytest.mark.parametrize("name", ["tokens_per_minute", "calls_per_minute", "questions"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "9"])
def test_a_senseless_limit_is_refused_with_what_makes_sense(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"The quota of {name} is .*whole number of at least 1"):
        Quota(**{name: value})  # type: ignore[arg-type]


def test_a_call_waits_until_enough_tokens_are_a_minute_ago() -> None:
    window = Window(None, 100)
    window.draw(60, 0.0)
    window.draw(30, 10.0)
    assert window.delay(10, 20.0) == 0
    assert window.delay(11, 20.0) == 40.0
    assert window.delay(71, 20.0) == 50.0
    assert window.delay(10**9, 20.0) == 50.0, "more than the limit: when the minute is empty"
    assert window.delay(11, 60.0) == 0


def test_a_call_waits_until_one_of_the_calls_is_a_minute_ago() -> None:
    window = Window(2, None)
    window.draw(10**9, 0.0)
    window.draw(10**9, 5.0)
    assert window.delay(1, 6.0) == 54.0
    assert window.delay(1, 60.0) == 0


def test_what_a_call_did_not_cost_is_given_back() -> None:
    window = Window(None, 100)
    draw = window.draw(90, 0.0)
    assert window.delay(50, 1.0) == 59.0
    window.settle(draw, 20)
    assert window.delay(50, 1.0) == 0
    assert window.delay(80, 61.0) == 0
    window.settle(draw, 90)  # long ago: it counts no more
    assert window.delay(100, 61.0) == 0


@given(
    calls=st.none() | st.integers(1, 4),
    tokens=st.none() | st.integers(1, 100),
    steps=st.lists(
        st.tuples(st.integers(0, 130), st.floats(0, 40), st.none() | st.integers(0, 130)),
        max_size=30,
    ),
)
def test_no_minute_has_more_than_the_limits(
    calls: int | None, tokens: int | None, steps: list[tuple[int, float, int | None]]
) -> None:
    window, now, made = Window(calls, tokens), 0.0, list[Draw]()
    for most, waits, cost in steps:
        wanted = most if tokens is None else min(most, tokens)
        now += waits
        delay = window.delay(wanted, now)
        assert 0 <= delay <= MINUTE + 1e-6
        if delay:
            now += delay + 1e-6
            assert window.delay(wanted, now) == 0, "it is the whole wait"
        made.append(window.draw(wanted, now))
        last = [one for one in made if one.at > now - MINUTE + 1e-5]
        assert calls is None or len(last) <= calls
        assert tokens is None or sum(one.tokens for one in last) <= tokens
        if cost is not None:
            window.settle(made[-1], min(cost, wanted))


def test_questions_are_served_first_come_first_served() -> None:
    async def main() -> list[int]:
        quota, served = Quota(questions=2), list[int]()
        most, at_once = 0, 0

        async def question(number: int) -> None:
            nonlocal most, at_once
            async with quota.question(timeout=FOREVER) as placed:
                assert placed
                served.append(number)
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1

        await asyncio.gather(*(question(number) for number in range(20)))
        assert most == 2
        return served

    assert asyncio.run(main()) == list(range(20))


def test_who_waits_too_long_is_told_and_holds_up_nobody() -> None:
    async def main() -> None:
        quota = Quota(questions=1)
        async with quota.question(timeout=0) as first:
            assert first
            async with quota.question(timeout=0.01) as second:
                assert not second
            waiting = asyncio.ensure_future(_placed(quota))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            last = asyncio.ensure_future(_placed(quota))
            await asyncio.sleep(0)
        assert await last

    asyncio.run(main())


async def _placed(quota: Quota) -> bool:
    async with quota.question(timeout=FOREVER) as placed:
        return placed


def test_a_place_is_given_back_by_a_question_that_fails() -> None:
    async def main() -> None:
        quota = Quota(questions=1)
        with pytest.raises(RuntimeError):
            async with quota.question(timeout=0):
                raise RuntimeError
        async with quota.question(timeout=0) as placed:
            assert placed

    asyncio.run(main())


def test_a_call_that_waits_goes_on_when_tokens_are_given_back() -> None:
    async def main() -> None:
        quota = Quota(tokens_per_minute=100, clock=Clock())
        first = await quota.draw(90, timeout=0)
        assert first is not None
        assert await quota.draw(11, timeout=0) is None
        second = asyncio.ensure_future(quota.draw(50, timeout=FOREVER))
        third = asyncio.ensure_future(quota.draw(1, timeout=FOREVER))
        await asyncio.sleep(0.01)
        assert not third.done(), "a small call does not overtake a large one"
        quota.settle(first, 20)
        assert await second is not None
        assert await third is not None

    asyncio.run(main())


def test_threads_with_event_loops_of_their_own_share_a_quota() -> None:
    quota, most, inside, served = Quota(questions=3), [0], [0], [0]
    mutex = threading.Lock()

    async def question() -> None:
        async with AsyncExitStack() as stack:
            assert await stack.enter_async_context(quota.question(timeout=FOREVER))
            with mutex:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            await asyncio.sleep(0.001)
            with mutex:
                inside[0] -= 1
                served[0] += 1

    async def several() -> None:
        await asyncio.gather(*(question() for _ in range(8)))

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (served, inside) == ([48], [0])
    assert most[0] <= 3
