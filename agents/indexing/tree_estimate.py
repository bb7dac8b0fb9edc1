"""What it would cost to have a served model build a tree, said beforehand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from hoptrail.agents.indexing.batch_runner import NO_LIMIT, check_parallel
from hoptrail.agents.indexing.tree_builder import ModelSession, QuestionBatch, TreeBuildInputs
from hoptrail.agents.indexing.tree_prompts import ROOM, Question
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.token_estimate import CountedBy, TokenEstimate, server_scale
from hoptrail.agents.llm.types import Endpoint
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.tree.builders.requests import next_requests
from hoptrail.rag.tree.types import Tree

_SAMPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildEstimate:
    """What a build would take from here on."""

    model: str
    leaves: int
    calls: int
    """Two where a reply cannot be used. Of a tree's upper layers this is a guess."""
    kept: int
    """Replies that an earlier build left, for which nobody is asked."""
    prompt_tokens: int
    reply_tokens: int
    """If replies are as long as they usually are."""
    most_reply_tokens: int
    counted_by: CountedBy
    seconds: float | None
    """By the time that the first questions took; None: none was asked."""


async def estimate_tree(
    ground: TreeBuildInputs, model: ServedModel | Endpoint, *, timed: int = 0
) -> TreeBuildEstimate:
    """What building would take from here on.

    The build is gone through with stand-ins for what nobody has answered yet.

    Args:
        ground: what it would be built over.
        model: who would answer.
        timed: questions that are asked now, side by side as a build does (0..32), to see how long
            it takes. Their replies are kept: a build does not ask them again.

    Raises:
        ModelError: the server cannot be used.
        SettingsError: what the builder raises, or more questions than can be asked at once.
        StoreBusy, StoreFull: the replies cannot be kept.
    """
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, ground.secret)
        assert endpoint is not None
        pace = await _pace(ground, endpoint, timed) if timed else None
        name = (await endpoint.info()).model
        forecast = await asyncio.to_thread(_forecast, ground, name)
        scale = await server_scale(endpoint, forecast.sample)
    size = forecast.size if scale is None else forecast.size.scaled(scale)
    return TreeBuildEstimate(
        model=name,
        leaves=len(ground.leaves.rows()),
        calls=forecast.calls,
        kept=forecast.kept,
        prompt_tokens=size.prompt,
        reply_tokens=size.usual,
        most_reply_tokens=size.most,
        counted_by="tiktoken" if scale is None else "server",
        seconds=None if pace is None else pace * forecast.calls,
    )


async def _pace(ground: TreeBuildInputs, endpoint: Endpoint, timed: int) -> float | None:
    """Seconds for a question while so many are asked side by side; None: nothing is to be asked."""
    check_parallel(timed)
    desk = await ModelSession.open(endpoint, ground.secret, NO_LIMIT)
    first = await asyncio.to_thread(_first, ground, desk, timed)
    began = desk.ledger.elapsed()
    tried = await asyncio.gather(*map(desk.ask, first))
    took = desk.ledger.elapsed() - began
    replies = {
        one.key(desk.model): came.draft
        for one, came in zip(first, tried, strict=True)
        if not came.failure
    }
    await asyncio.to_thread(ground.drafts.keep_drafts, replies)
    return took / len(first) if first else None


def _first(ground: TreeBuildInputs, desk: ModelSession, many: int) -> list[Question[Any]]:
    """Questions of a build's first step that nobody has answered."""
    builder = ground.builder(ground.leaves, replace(ground.spec, model=desk.model))
    came = next_requests(builder, None)
    asks = () if isinstance(came, Tree) else came
    sheet = QuestionBatch.of(asks, desk.fence, desk.model)
    kept = sheet.recalled(ground.drafts)
    return list(islice((one for key, one in sheet.questions.items() if key not in kept), many))


@dataclass(slots=True)
class _Forecast:
    """What a build would ask, so far."""

    calls: int = 0
    kept: int = 0
    size: TokenEstimate = field(default_factory=lambda: TokenEstimate(prompt=0, usual=0, most=0))
    sample: list[Rendered] = field(default_factory=list)

    def add(self, one: Question[Any]) -> None:
        self.calls += 1
        self.size += one.size()
        # Doubling distances: of the many questions at the bottom and the few above.
        if len(self.sample) < _SAMPLE and self.calls & (self.calls - 1) == 0:
            self.sample.append(one.render(ROOM))


def _forecast(ground: TreeBuildInputs, model: str) -> _Forecast:
    """Goes through a build without asking anybody."""
    fence = Delimiters.of(ground.secret)
    builder = ground.builder(ground.leaves, replace(ground.spec, model=model))
    forecast = _Forecast()
    came = next_requests(builder, None)
    while not isinstance(came, Tree):
        sheet = QuestionBatch.of(came, fence, model)
        replies = sheet.recalled(ground.drafts)
        forecast.kept += len(replies)
        for key, one in sheet.questions.items():
            if key not in replies:
                forecast.add(one)
                replies[key] = one.stand_in()
        came = next_requests(builder, sheet.replies(replies))
    return forecast
