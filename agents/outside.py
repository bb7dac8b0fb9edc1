"""The documents as a run sees them, and how each call for them passes its tape.

`Corpus` and `Endpoint` (`models.py`, taped by `taping.py`) are all that a run takes from outside
its own code, besides the time, which the tape keeps. Nothing else may reach for a store, an
embedder or a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

from hoptrail.agents.tape import Call, Tape
from hoptrail.agents.trees import Stand, Trees, TreeStart
from hoptrail.rag.retrieval.retriever import Searcher
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.types import Mode, Passage, Ranking, Where

T = TypeVar("T")

THREADS = 4
"""Threads that all runs of a corpus share to enter `rag/`; a search holds one for milliseconds."""

_RANKING = TypeAdapter(Ranking)
_PASSAGES = TypeAdapter(tuple[Passage | None, ...])
_SCORES = TypeAdapter(tuple[float, ...])
_START = TypeAdapter(TreeStart)
_OPENED = TypeAdapter(tuple[Opened, ...])


@runtime_checkable
class Corpus(Protocol):
    """The documents, as a run sees them."""

    async def generation(self) -> int:
        """The store's newest committed generation."""

    async def language(self) -> str:
        """By whose rules words are told apart: that of the store's analyser."""

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, -1..1.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none.

        Args:
            query: what is searched for.
            found: ids of passages that are known to bear on it, best first.
            k: how many of them point to where to begin.
            where: equality filter on metadata.
            timeout: seconds.

        Raises:
            TimeoutError: not answered within `timeout` seconds; what is being built is kept.
        """

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps; `stand` is `tree_start`'s.

        Raises:
            TimeoutError: not answered within `timeout` seconds.
        """

    async def tree_passages(self, query: str, leaves: Sequence[int]) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""


class LiveCorpus:
    """A store and its searcher, entered through one bounded pool of threads."""

    def __init__(
        self, store: Store, searcher: Searcher, trees: Trees, *, threads: int = THREADS
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


class Absent:
    """The corpus and endpoint of a replay: whoever reaches them has found a hole in the tape."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        """A method that fails when it is called: a replay touches nothing live."""

        def reached(*_arguments: object, **_options: object) -> object:
            raise AssertionError(f"a replay reached for {name!r} of the live world")

        return reached


class TapedCorpus:
    """A corpus whose every call passes a tape."""

    def __init__(self, corpus: Corpus, tape: Tape) -> None:
        self._corpus = corpus
        self._tape = tape

    async def generation(self) -> int:
        """The store's newest committed generation."""
        return await self._tape.through(
            Call(
                kind="corpus.generation",
                arguments=dict,
                live=self._corpus.generation,
                encode=int,
                decode=int,
                short=True,
            )
        )

    async def language(self) -> str:
        """That of the store's analyser."""
        return await self._tape.through(
            Call(
                kind="corpus.language",
                arguments=dict,
                live=self._corpus.language,
                encode=str,
                decode=str,
                short=True,
            )
        )

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        """The k best passages for a query."""
        return await self._tape.through(
            Call(
                kind="corpus.search",
                arguments=lambda: {"query": query, "k": k, "mode": mode, "where": dict(where)},
                live=lambda: self._corpus.search(
                    query, k=k, mode=mode, where=where, timeout=timeout
                ),
                encode=lambda ranking: _RANKING.dump_python(ranking, mode="json"),
                decode=_RANKING.validate_python,
            )
        )

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        """The cosine of the query to each text, -1..1."""
        return await self._tape.through(
            Call(
                kind="corpus.similarity",
                arguments=lambda: {"query": query, "texts": list(texts)},
                live=lambda: self._corpus.similarity(query, texts, timeout=timeout),
                encode=list,
                decode=_SCORES.validate_python,
            )
        )

    async def tree_start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, timeout: float
    ) -> TreeStart:
        """Opens the corpus tree, which is built where there is none."""
        return await self._tape.through(
            Call(
                kind="corpus.tree_start",
                arguments=lambda: {
                    "query": query,
                    "found": list(found),
                    "k": k,
                    "where": dict(where),
                },
                live=lambda: self._corpus.tree_start(
                    query, found, k=k, where=where, timeout=timeout
                ),
                encode=lambda start: _START.dump_python(start, mode="json"),
                decode=_START.validate_python,
            )
        )

    async def tree_open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where, timeout: float
    ) -> tuple[Opened, ...]:
        """Nodes of the tree with the children that the filter keeps."""
        return await self._tape.through(
            Call(
                kind="corpus.tree_open",
                arguments=lambda: {"query": query, "nodes": list(nodes), "where": dict(where)},
                live=lambda: self._corpus.tree_open(
                    query, nodes, stand=stand, where=where, timeout=timeout
                ),
                encode=lambda opened: _OPENED.dump_python(opened, mode="json"),
                decode=_OPENED.validate_python,
            )
        )

    async def tree_passages(self, query: str, leaves: Sequence[int]) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf of the tree; None for one that is gone."""
        return await self._tape.through(
            Call(
                kind="corpus.tree_passages",
                arguments=lambda: {"query": query, "leaves": list(leaves)},
                live=lambda: self._corpus.tree_passages(query, leaves),
                encode=lambda found: _PASSAGES.dump_python(found, mode="json"),
                decode=_PASSAGES.validate_python,
                short=True,
            )
        )

    async def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """Passages by id, in order; None for one that is gone."""
        return await self._tape.through(
            Call(
                kind="corpus.passages",
                arguments=lambda: {"ids": list(ids)},
                live=lambda: self._corpus.passages(ids),
                encode=lambda found: _PASSAGES.dump_python(found, mode="json"),
                decode=_PASSAGES.validate_python,
                short=True,
            )
        )

    async def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`document.text[start:end]`; None when the document is gone."""
        return await self._tape.through(
            Call(
                kind="corpus.slice",
                arguments=lambda: {"document_id": document_id, "start": start, "end": end},
                live=lambda: self._corpus.slice(document_id, start, end),
                encode=lambda text: text,
                decode=lambda text: text,
                short=True,
            )
        )
