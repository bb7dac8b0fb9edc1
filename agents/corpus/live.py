"""The corpus of a live run: a store and its retriever, entered through two pools of threads.

Short reads have a pool of their own, so that they never wait behind a call that embeds. A tree is
built or loaded in a thread of its own, once for all runs that wait for it.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from hoptrail.agents.corpus.live_tree import Trees
from hoptrail.agents.corpus.protocol import Stand, TreeStart
from hoptrail.agents.corpus.threads import Threads, start_thread
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.types import Mode, Passage, Ranking, ScoredSentence, Where

READS = 4
"""Threads that all runs of a corpus share for short reads and searches by words alone."""
THREADS = 4
"""Threads that all runs of a corpus share for calls that embed."""


class LiveCorpus:
    """A store and its searcher, entered through bounded pools of threads."""

    def __init__(
        self, store: Store, searcher: Retriever, trees: Trees, *, threads: int = THREADS
    ) -> None:
        self._store = store
        self._searcher = searcher
        self._trees = trees
        self._reads = Threads("hoptrail-read", READS, hung=_store_hangs)
        self._embeds = Threads("hoptrail-embed", threads, hung=_embedder_hangs)
        self._preparing: Future[bool] | None = None
        self._mutex = threading.Lock()
        # For a corpus that nobody closes.
        weakref.finalize(self, _close, self._reads, self._embeds, trees)

    def close(self) -> bool:
        """Ends the threads and says whether none of them is still inside a call.

        A call that ran into its timeout cannot be stopped at once; it is not waited for, and what
        it uses must stay open.
        """
        building = self._preparing is not None and not self._preparing.done()
        return _close(self._reads, self._embeds, self._trees) and not building

    async def generation(self, *, timeout: float) -> int:
        """The store's newest committed generation."""
        return await self._reads.run(lambda: self._store.generation, timeout)

    async def language(self, *, timeout: float) -> str:
        """That of the store's analyser."""
        return self._store.spec.language

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        pool = self._reads if mode == "lexical" else self._embeds
        return await pool.run(
            lambda: self._searcher.search(query, k=k, mode=mode, where=where), timeout
        )

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, rounded to 6 digits: recordings stay short."""
        scores = await self._embeds.run(lambda: self._searcher.similarity(query, texts), timeout)
        return tuple(round(float(score), 6) for score in scores)

    async def sentences(
        self, query: str, ids: Sequence[str], *, timeout: float
    ) -> tuple[tuple[ScoredSentence, ...] | None, ...]:
        """Passages' sentences with their cosine to the query; None where no vectors are stored."""
        return await self._embeds.run(lambda: self._searcher.sentences(query, ids), timeout)

    async def has_tree(self, *, timeout: float) -> bool:
        """Whether the store has a corpus tree."""
        return await self._reads.run(self._trees.exist, timeout)

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none."""
        left = _countdown(timeout)
        built = False
        if not await self._reads.run(self._trees.current, left()):
            built = await self._prepared(left())
        return await self._embeds.run(
            lambda: self._trees.start(query, found, k=k, where=where, built=built), left()
        )

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps."""
        left = _countdown(timeout)
        if not self._trees.ready:  # the process began anew
            await self._prepared(left())
        return await self._embeds.run(
            lambda: self._trees.open(query, nodes, stand=stand, where=where), left()
        )

    async def tree_passages(
        self, query: str, leaves: Sequence[int], *, timeout: float
    ) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""
        pool = self._embeds if self._trees.over_documents else self._reads
        return await pool.run(lambda: self._trees.passages(query, leaves), timeout)

    async def passages(self, ids: Sequence[str], *, timeout: float) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._reads.run(lambda: self._store.passages(ids), timeout)

    async def slice(self, document_id: str, start: int, end: int, *, timeout: float) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""
        return await self._reads.run(lambda: self._store.slice(document_id, start, end), timeout)

    async def _prepared(self, timeout: float) -> bool:
        """Waits for the tree of now, for which one thread works; whether this call had it built.

        The thread goes on when nobody waits any more: the next run then finds the tree.
        """
        with self._mutex:
            began = self._preparing is None or self._preparing.done()
            if self._preparing is None or began:
                self._preparing = _in_thread(self._trees.prepare)
            preparing = self._preparing
        return await asyncio.wait_for(asyncio.wrap_future(preparing), timeout) and began


def _in_thread(work: Callable[[], bool]) -> Future[bool]:
    """A call in a thread of its own; its future cannot be cancelled."""
    future: Future[bool] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    start_thread(run, "hoptrail-tree")
    return future


def _close(reads: Threads, embeds: Threads, trees: Trees) -> bool:
    trees.close()
    return all([reads.close(), embeds.close()])


def _countdown(timeout: float) -> Callable[[], float]:
    """What is left of a timeout that begins now, in seconds."""
    deadline = time.monotonic() + timeout
    return lambda: deadline - time.monotonic()


def _store_hangs(count: int) -> Exception:
    return TimeoutError(f"{count} reads of the store are still inside after their deadline.")


def _embedder_hangs(count: int) -> Exception:
    return EmbedderError(
        f"{count} calls of the embedder have not come back: look at its server, then restart this "
        "process."
    )
