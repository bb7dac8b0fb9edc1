"""The corpus of a live run: a store and its retriever, entered through a pool of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from hoptrail.agents.corpus.live_tree import Trees
from hoptrail.agents.corpus.protocol import Stand, TreeStart
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.types import Mode, Passage, Ranking, ScoredSentence, Where

T = TypeVar("T")

THREADS = 4
"""Threads that all runs of a corpus share to enter `rag/`; a search holds one for milliseconds."""


class LiveCorpus:
    """A store and its searcher, entered through one bounded pool of threads."""

    def __init__(
        self, store: Store, searcher: Retriever, trees: Trees, *, threads: int = THREADS
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._trees = trees
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hoptrail")
        self._inside = 0
        self._counting = Lock()

    def close(self) -> bool:
        """Ends the threads and says whether none of them is still inside a call.

        A call that ran into its timeout cannot be stopped; it is not waited for, and what it uses
        must stay open.
        """
        self._pool.shutdown(wait=False, cancel_futures=True)
        return self._inside == 0

    async def generation(self) -> int:
        """The store's newest committed generation."""
        return await self._enter(lambda: self._store.generation)

    async def language(self) -> str:
        """That of the store's analyser."""
        return self._store.spec.language

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        work = self._enter(lambda: self._searcher.search(query, k=k, mode=mode, where=where))
        return await asyncio.wait_for(work, timeout)

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, rounded to 6 digits: recordings stay short."""
        work = self._enter(lambda: self._searcher.similarity(query, texts))
        scores = await asyncio.wait_for(work, timeout)
        return tuple(round(float(score), 6) for score in scores)

    async def sentences(
        self, query: str, ids: Sequence[str], *, timeout: float
    ) -> tuple[tuple[ScoredSentence, ...] | None, ...]:
        """Passages' sentences with their cosine to the query; None where no vectors are stored."""
        work = self._enter(lambda: self._searcher.sentences(query, ids))
        return await asyncio.wait_for(work, timeout)

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none."""
        work = self._enter(lambda: self._trees.start(query, found, k=k, where=where))
        return await asyncio.wait_for(work, timeout)

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps."""
        work = self._enter(lambda: self._trees.open(query, nodes, stand=stand, where=where))
        return await asyncio.wait_for(work, timeout)

    async def tree_passages(self, query: str, leaves: Sequence[int]) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""
        return await self._enter(lambda: self._trees.passages(query, leaves))

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._enter(lambda: self._store.passages(ids))

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""
        return await self._enter(lambda: self._store.slice(document_id, start, end))

    async def _enter(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._counted, call)

    def _counted(self, call: Callable[[], T]) -> T:
        with self._counting:
            self._inside += 1
        try:
            return call()
        finally:
            with self._counting:
                self._inside -= 1
