"""What it would cost to have a served model read a store for its graph, said beforehand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import numpy as np

from hoptrail.agents.indexing import triple_extraction as openie
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.http import ServedModel, open_endpoint
from hoptrail.agents.llm.token_estimate import CountedBy, TokenEstimate, server_scale
from hoptrail.agents.llm.types import Endpoint
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Rows

_PAGE = 256
_SAMPLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBuildEstimate:
    """What a build would read and what that takes."""

    model: str
    passages: int
    """To be read now."""
    unread: int
    """By this model, in the whole store."""
    failed_before: int
    prompt_tokens: int
    reply_tokens: int
    """If replies are as long as they usually are."""
    most_reply_tokens: int
    counted_by: CountedBy
    rows: Rows = field(repr=False)


async def estimate_graph(
    store: Store, model: ServedModel | Endpoint, *, limit: int | None = None
) -> GraphBuildEstimate:
    """What reading the passages that a model has not read would take; asks it nothing.

    Args:
        store: whose passages; it must have a graph.
        model: who would read. Where its server counts tokens, tiktoken's figures are scaled by
            what it says of a sample.
        limit: passages to read now; None: all.

    Raises:
        BackendRefused: the store has no passage graph.
        ModelError: the server cannot be used.
        SettingsError: a limit below 1.
    """
    if limit is not None and limit < 1:
        raise SettingsError(f"A build reads at least 1 passage, not {limit!r}.")
    fence = Delimiters.of(store.secret)
    async with AsyncExitStack() as stack:
        endpoint = await open_endpoint(stack, model, store.secret)
        assert endpoint is not None
        info = await endpoint.info()
        unread = await asyncio.to_thread(store.unread, info.model)
        rows = unread.rows[:limit]
        whole = await asyncio.to_thread(_size, store, rows, fence)
        sample = await asyncio.to_thread(_sample, store, rows, fence)
        scale = await server_scale(endpoint, sample)
    whole = whole if scale is None else whole.scaled(scale)
    return GraphBuildEstimate(
        model=info.model,
        passages=len(rows),
        unread=len(unread.rows),
        failed_before=unread.failed,
        prompt_tokens=whole.prompt,
        reply_tokens=whole.usual,
        most_reply_tokens=whole.most,
        counted_by="tiktoken" if scale is None else "server",
        rows=rows,
    )


def _size(store: Store, rows: Rows, fence: Delimiters) -> TokenEstimate:
    """What reading the rows takes, by tiktoken's count."""
    whole = TokenEstimate(prompt=0, usual=0, most=0)
    for at in range(0, len(rows), _PAGE):
        for passage in store.resolve(rows[at : at + _PAGE]):
            if passage is not None:
                whole += openie.size(passage, fence)
    return whole


def _sample(store: Store, rows: Rows, fence: Delimiters) -> list[Rendered]:
    """The prompts of some passages from all over."""
    places = np.unique(np.linspace(0, len(rows) - 1, num=min(_SAMPLE, len(rows))).astype(np.int64))
    return [openie.rendered(one, fence) for one in store.resolve(rows[places]) if one is not None]
