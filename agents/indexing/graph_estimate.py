"""Estimate of the tokens that a served model takes to read a store's passages for the graph."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from hoptrail.agents.indexing.build_records import BuildEstimate, shared_fields
from hoptrail.agents.indexing.model_build import Forecast, connection
from hoptrail.agents.indexing.triple_extraction import rendered, size
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Rows

_PAGE = 256
_SAMPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBuildEstimate(BuildEstimate):
    """Passages that a build of the graph would read, and its cost in tokens."""

    passages: int
    """To be read now."""
    unread: int
    """By this model, in the whole store."""
    failed_before: int
    """Unread passages that an earlier build failed at."""
    rows: Rows = field(repr=False)
    """Row ids of the passages to be read now, in order."""


async def estimate_graph(
    store: Store, model: AnyModel, *, limit: int | None = None
) -> GraphBuildEstimate:
    """Estimates the reading of all passages that a model has not read; asks the model nothing.

    Args:
        store: whose passages; it must have a graph.
        model: the model that would read. Where its server counts tokens, tiktoken's figures are
            scaled by the server's count of a sample.
        limit: passages to read now; None: all.

    Raises:
        BackendRefused: the store has no passage graph.
        ModelError: the server cannot be used.
        SettingsError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"A build reads at least 1 passage, not {limit!r}.")
    async with connection(model, store.secret) as endpoint:
        name = (await endpoint.info()).model
        unread = await asyncio.to_thread(store.unread, name)
        rows = unread.rows[:limit]
        forecast = await asyncio.to_thread(_forecast, store, rows)
        shared = await forecast.estimate(endpoint, name)
    return GraphBuildEstimate(
        **shared_fields(shared),
        passages=len(rows),
        unread=len(unread.rows),
        failed_before=unread.failed,
        rows=rows,
    )


def _forecast(store: Store, rows: Rows) -> Forecast:
    """The questions about the passages of some rows; the sample is drawn evenly from them."""
    delimiters = Delimiters.of(store.secret)
    forecast = Forecast()
    for at in range(0, len(rows), _PAGE):
        for passage in store.resolve(rows[at : at + _PAGE]):
            if passage is not None:
                forecast.size += size(passage, delimiters)
    places = np.unique(np.linspace(0, len(rows) - 1, num=min(_SAMPLE, len(rows))).astype(np.int64))
    sample = store.resolve(rows[places])
    forecast.sample = [rendered(one, delimiters) for one in sample if one is not None]
    return forecast
