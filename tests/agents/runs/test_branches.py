"""Parallel branches: what each sees of the clock and the recording is its own, in every order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, QUESTION, Around, Reader, over, reading

from hoptrail.agents import Budget, ask, replay
from hoptrail.agents.budget.branches import Branch, current_branch, gather_or_cancel, within
from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest
from hoptrail.agents.runs.interceptor import ExternalCall, LiveInterceptor
from hoptrail.rag.types import Mode, Ranking, Where


def test_a_branch_begins_with_its_trunk_and_the_latest_goes_on() -> None:
    async def branch(seconds: float) -> tuple[tuple[int, ...], float]:
        mine = current_branch()
        began = mine.seconds
        mine.advance(began + seconds)
        return mine.path, began

    async def main() -> None:
        with within(Branch("retrieve", (2,), 5.0)) as trunk:
            made = await gather_or_cancel(branch(one) for one in (3.0, 1.0, 2.0))
            assert made == [((2, 0), 5.0), ((2, 1), 5.0), ((2, 2), 5.0)]
            assert trunk.seconds == 8.0
            trunk.advance(1.0)
            assert trunk.seconds == 8.0

    asyncio.run(main())


def test_a_branch_that_fails_ends_its_siblings() -> None:
    ended: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("sibling")

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(gather_or_cancel([waiting(), failing(), waiting()]))
    assert ended == ["sibling"] * 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(0, 99))
def test_the_clock_of_a_branch_does_not_see_a_slow_sibling(delays: list[int], seed: int) -> None:
    """Each branch makes two calls; `now` is what has passed by when the loop comes to it."""
    now, rng = 0.0, random.Random(seed)
    interceptor = LiveInterceptor(now=lambda: now)

    def call(seconds: float) -> ExternalCall[None]:
        async def live() -> None:
            nonlocal now
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            now = max(now, seconds)

        return ExternalCall(
            kind="x", arguments=dict, live=live, encode=lambda _: None, decode=lambda _: None
        )

    async def branch(delay: int) -> list[float]:
        seen = [interceptor.seconds()]
        for _ in range(2):
            await interceptor.call(call(delay))
            seen.append(interceptor.seconds())
        return seen

    async def main() -> None:
        with within(Branch()):
            for seen in await gather_or_cancel(map(branch, delays)):
                assert seen[0] == 0.0
                assert seen == sorted(seen)
            assert interceptor.seconds() == now

    asyncio.run(main())


class Erratic(Around):
    """A corpus whose searches come back in any order."""

    def __init__(self, library: KnowledgeBase, rng: random.Random) -> None:
        super().__init__(library.corpus)
        self.rng = rng

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        for _ in range(self.rng.randrange(6)):
            await asyncio.sleep(0)
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)


class ErraticServer(ScriptedEndpoint):
    """A server whose replies come back in any order, some too late, with any usage."""

    rng: random.Random

    async def attempt(self, request: ChatRequest, **options: object) -> ChatReply:
        for _ in range(self.rng.randrange(8)):
            await asyncio.sleep(0)
        if self.rng.random() < 0.1:
            await asyncio.sleep(0.002)
        return await super().attempt(request, **options)  # type: ignore[arg-type]


def server(rng: random.Random) -> ErraticServer:
    def usage(honest: ReportedUsage) -> ReportedUsage | None:
        factor = rng.choice([1, 1, 0, 3, -1, 10**9])
        return None if rng.random() < 0.2 else ReportedUsage(
            prompt_tokens=honest.prompt_tokens * factor,
            completion_tokens=honest.completion_tokens,
        )  # fmt: skip

    base = reading(Reader(), usage=usage)
    base.__class__ = ErraticServer
    base.rng = rng  # type: ignore[attr-defined]
    base._next_by_schema["ScoresForm"] = lambda request: rng.choice(  # type: ignore[attr-defined]
        ['{"reasoning": "", "scores": {"1": 90, "2": 10}}', "garbage", '{"scores": {}}']
    )
    return base  # type: ignore[return-value]


@pytest.fixture(scope="module")
def documents() -> Mapping[str, tuple[str, str]]:
    """The chain and eighty pages more: a tree with several nodes, so slates beside each other."""
    places = [
        f"{a}{b}" for a in ("Ald", "Bram", "Cor", "Dun") for b in ("by", "ford", "wick", "ton")
    ]
    pages = {
        f"x{number}": (
            f"{place} {number}",
            f"{place} {number} is a town on the river {places[number % 7]}. It was founded in "
            f"{1700 + number} by the guild of {places[(number * 5) % 16]}, who built ships there.",
        )
        for number, place in enumerate(places * 5)
    }
    return {**CHAIN, **pages}


@pytest.mark.parametrize("seed", range(200))
def test_parallel_slates_replay_equal(library: KnowledgeBase, tmp_path: Path, seed: int) -> None:
    """Delays and usage are drawn at random; the receipt must not depend on who was faster."""
    rng = random.Random(seed)
    path = tmp_path / "run.jsonl"
    budget = Budget(calls=rng.choice([6, 12, 40]), tokens=rng.choice([4_000, 15_000, 60_000]))
    receipt = ask(
        QUESTION, over(library, Erratic(library, rng)), model=server(rng), budget=budget,
        strategy=rng.choice(["lattice", "lattice", "pool"]), record=path,
    )  # fmt: skip
    again = replay(path)
    assert again.difference == ""
    assert again.receipt.canonical() == receipt.canonical()
