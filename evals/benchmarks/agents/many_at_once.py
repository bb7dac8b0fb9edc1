"""Many questions asked at once: do they end within their seconds, and does the loop stay free?"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hoptrail.agents.ask import aask
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.receipt import Receipt

_TICK = 0.005
"""Seconds between two looks at how late the event loop is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyAtOnce:
    """What became of many questions that were asked at once."""

    questions: int
    seconds: float
    """The budget of each."""
    strategy: str
    wall_p50: float
    """Seconds from the call of `aask` to its receipt."""
    wall_p99: float
    wall_max: float
    lag_p99_ms: float
    """How late the event loop woke a task that slept 5 ms."""
    lag_max_ms: float
    cpu_seconds: float
    """Of the whole process, its threads included."""
    stops: dict[str, int]
    """Questions by stop reason; an exception by its name."""
    outcomes: dict[str, int]
    load: float
    """Load average over the last minute, before the questions were asked."""


def questions_of(path: Path) -> list[str]:
    """The questions in a file of JSON lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines if line]


async def ask_at_once(
    knowledge: KnowledgeBase,
    questions: Sequence[str],
    *,
    count: int,
    seconds: float,
    strategy: str = "pool",
) -> ManyAtOnce:
    """Asks `count` questions at once, after one that warms up what is loaded at first use.

    Args:
        knowledge: an open store.
        questions: asked in turn, from the beginning again where there are fewer than `count`.
        count: how many.
        seconds: the budget of each.
        strategy: the name of the strategy of each.
    """
    await aask(questions[-1], knowledge, strategy=strategy, budget=Budget(seconds=60))
    chosen = [questions[at % len(questions)] for at in range(count)]
    load, lags = os.getloadavg()[0], list[float]()
    watch = asyncio.create_task(_watch(lags))
    spent = time.process_time()
    results = await asyncio.gather(
        *(_timed(knowledge, question, seconds, strategy) for question in chosen)
    )
    spent = time.process_time() - spent
    watch.cancel()
    walls = [wall for wall, _ in results]
    receipts = [one for _, one in results if isinstance(one, Receipt)]
    return ManyAtOnce(
        questions=count,
        seconds=seconds,
        strategy=strategy,
        wall_p50=float(np.percentile(walls, 50)),
        wall_p99=float(np.percentile(walls, 99)),
        wall_max=max(walls),
        lag_p99_ms=1000 * float(np.percentile(lags, 99)),
        lag_max_ms=1000 * max(lags),
        cpu_seconds=spent,
        stops=dict(Counter(_stop(one) for _, one in results).most_common()),
        outcomes=dict(Counter(one.outcome.kind for one in receipts).most_common()),
        load=load,
    )


async def _timed(
    knowledge: KnowledgeBase, question: str, seconds: float, strategy: str
) -> tuple[float, Receipt | Exception]:
    began = time.perf_counter()
    result: Receipt | Exception
    try:
        result = await aask(question, knowledge, strategy=strategy, budget=Budget(seconds=seconds))
    except Exception as error:
        result = error
    return time.perf_counter() - began, result


def _stop(result: Receipt | Exception) -> str:
    return result.stop if isinstance(result, Receipt) else type(result).__name__


async def _watch(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - began - _TICK)
