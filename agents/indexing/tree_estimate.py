"""Estimate of the calls, tokens and seconds that a served model takes to build a tree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.indexing.batch_runner import NO_LIMIT, check_parallel
from hoptrail.agents.indexing.build_records import BuildEstimate, shared_fields
from hoptrail.agents.indexing.model_build import Forecast, ModelSession, connection
from hoptrail.agents.indexing.tree_builder import TreeBuildInputs
from hoptrail.agents.indexing.tree_prompts import ROOM, Question
from hoptrail.agents.indexing.tree_questions import QuestionBatch, TreeModel
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.agents.llm.types import Endpoint
from hoptrail.rag.tree.builders.requests import next_requests
from hoptrail.rag.tree.types import Tree

_SAMPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeBuildEstimate(BuildEstimate):
    """Questions that a build of a tree has still to ask, and their cost in tokens and time."""

    leaves: int
    calls: int
    """One a question, two where a reply cannot be used. A guess for a tree's upper layers."""
    kept: int
    """Questions that drafts of an earlier build answer."""
    seconds: float | None
    """By the time that the first questions took; None: none was asked."""


async def estimate_tree(
    inputs: TreeBuildInputs, model: AnyModel, *, timed: int = 0
) -> TreeBuildEstimate:
    """Estimates the rest of a tree build, by running its builder on stand-ins for open replies.

    Args:
        inputs: leaves, settings, drafts and builder.
        model: the model that would be asked.
        timed: questions that are asked now, side by side as a build does (0..32), to measure how
            long they take. Their replies are kept: a build does not ask them again.

    Raises:
        ModelError: the server cannot be used.
        SettingsError: what the builder raises, or more questions than can be asked at once.
        StoreBusy, StoreFull: the replies cannot be kept.
    """
    if timed:
        check_parallel(timed)
    async with connection(model, inputs.secret) as endpoint:
        pace = await _pace(inputs, endpoint, timed) if timed else None
        name = (await endpoint.info()).model
        forecast = await asyncio.to_thread(_forecast, inputs, name)
        shared = await forecast.estimate(endpoint, name)
    return TreeBuildEstimate(
        **shared_fields(shared),
        leaves=len(inputs.leaves.rows()),
        calls=forecast.calls,
        kept=forecast.kept,
        seconds=None if pace is None else pace * forecast.calls,
    )


async def _pace(inputs: TreeBuildInputs, endpoint: Endpoint, timed: int) -> float | None:
    """Seconds per question while so many are asked side by side; None: no question is open."""
    session = await ModelSession.open(endpoint, inputs.secret, Ledger.open(None, NO_LIMIT))
    first = await asyncio.to_thread(_first, inputs, session, timed)
    began = session.ledger.elapsed()
    results = await asyncio.gather(*map(TreeModel(session).ask, first))
    took = session.ledger.elapsed() - began
    replies = {
        one.key(session.model): found.draft
        for one, found in zip(first, results, strict=True)
        if not found.failure
    }
    await asyncio.to_thread(inputs.drafts.keep_drafts, replies)
    return took / len(first) if first else None


def _first(inputs: TreeBuildInputs, session: ModelSession, count: int) -> list[Question[Any]]:
    """At most `count` questions of a build's first step that no draft answers."""
    found = next_requests(inputs.begin(session.model), None)
    requests = () if isinstance(found, Tree) else found
    batch = QuestionBatch.of(requests, session.delimiters, session.model)
    kept = batch.recalled(inputs.drafts)
    return list(islice((one for key, one in batch.questions.items() if key not in kept), count))


@dataclass(slots=True)
class _TreeForecast(Forecast):
    """Number and size of the questions that a tree build would ask."""

    calls: int = 0
    kept: int = 0

    def add(self, one: Question[Any]) -> None:
        self.calls += 1
        self.size += one.size()
        # Doubling distances: of the many questions at the bottom and the few above.
        if len(self.sample) < _SAMPLE and self.calls & (self.calls - 1) == 0:
            self.sample.append(one.render(ROOM))


def _forecast(inputs: TreeBuildInputs, model: str) -> _TreeForecast:
    """Runs the builder to its end, with stand-ins for replies that no draft has."""
    delimiters = Delimiters.of(inputs.secret)
    builder = inputs.begin(model)
    forecast = _TreeForecast()
    found = next_requests(builder, None)
    while not isinstance(found, Tree):
        batch = QuestionBatch.of(found, delimiters, model)
        replies = batch.recalled(inputs.drafts)
        forecast.kept += len(replies)
        for key, one in batch.questions.items():
            if key not in replies:
                forecast.add(one)
                replies[key] = one.stand_in()
        found = next_requests(builder, batch.replies(replies))
    return forecast
