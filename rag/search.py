"""A query to ranked passages: both indexes, fusion, and the texts of the winners."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.fuse import Fusion, MinMax
from hoptrail.rag.protocols import Embedder
from hoptrail.rag.types import (
    Candidates,
    Hit,
    Mode,
    Passage,
    Ranking,
    Where,
    tie_break,
)

DEFAULT_FUSION: Fusion = MinMax()

_EVERYTHING: Where = MappingProxyType({})
_ATTEMPTS = 3
_CACHED_QUERIES = 512


class SearchableSnapshot(Protocol):
    """One generation of a store; rows are those of its catalogue."""

    @property
    def generation(self) -> int:
        """Which commit it shows."""

    def lexical(self, query: str, k: int, where: Where) -> Candidates:
        """The k best rows by words."""

    def dense(self, vector: NDArray[np.float32], k: int, where: Where) -> Candidates:
        """The k best rows by cosine; `vector` is (dimension,) and L2-normalised."""


class SearchableStore(Protocol):
    """What a search asks of a store."""

    @property
    def generation(self) -> int:
        """The newest commit; an answer given while it stays the same is of that commit."""

    def snapshot(self) -> SearchableSnapshot:
        """The newest commit, to be asked by words and by vector."""

    def resolve(self, rows: NDArray[np.int64]) -> tuple[Passage | None, ...]:
        """The passages of the rows; None where a row was replaced in the meantime."""


class Searcher:
    """Searches one store with one embedder; safe to share by threads if the two are."""

    def __init__(
        self,
        store: SearchableStore,
        embedder: Embedder,
        *,
        fusion: Fusion = DEFAULT_FUSION,
        depth: int = 50,
    ) -> None:
        """`depth`: candidates taken from each index before fusion, or k if that is more."""
        if depth < 1:
            raise SettingsError(f"The depth of a search must be at least 1, not {depth!r}.")
        self._store = store
        self._embedder = embedder
        self._fusion = fusion
        self._depth = depth
        self._query_vector = lru_cache(maxsize=_CACHED_QUERIES)(self._embed_query)

    def search(
        self, query: str, *, k: int = 10, mode: Mode = "hybrid", where: Where = _EVERYTHING
    ) -> Ranking:
        """Ranks the passages that bear on a query.

        Args:
            query: not blank; what is beyond the embedder's window only counts as words.
            k: hits wanted, at least 1; fewer come back only when fewer are found.
            mode: which index is asked, or both.
            where: equality filter on metadata, applied before ranking.

        Returns:
            Best first, equal scores ordered by `tie_break` of the passage id. Scores are 0..1 for
            `hybrid`, BM25 for `lexical`, the cosine for `dense`.

        Raises:
            SettingsError: a blank query, k < 1 or an unknown mode.
        """
        _check(query, k, mode)
        # A writer in another process may replace rows at any time: then it is ranked again.
        for attempt in range(_ATTEMPTS):
            snapshot = self._store.snapshot()
            generation = snapshot.generation
            candidates = self._candidates(snapshot, query, k, mode, where)
            # On the last attempt the gaps are filled from the runners-up.
            wanted = k if attempt < _ATTEMPTS - 1 else len(candidates.rows)
            hits, whole = self._resolve(candidates, wanted, mode)
            if whole and self._store.generation == generation:
                break
        return Ranking(query=query, hits=hits[:k], generation=generation)

    def similarity(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns (len(texts),) float32: the cosine of each text to the query, -1..1."""
        vector = self._query_vector(query)
        if not texts:
            return np.empty(0, dtype=np.float32)
        similarities: NDArray[np.float32] = self._embedder.embed(texts, "passage") @ vector
        return similarities

    def _embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._embedder.embed([query], "query")[0]
        vector.flags.writeable = False
        return vector

    def _candidates(
        self, snapshot: SearchableSnapshot, query: str, k: int, mode: Mode, where: Where
    ) -> Candidates:
        if mode == "lexical":
            return snapshot.lexical(query, k, where)
        vector = self._query_vector(query)
        if mode == "dense":
            return snapshot.dense(vector, k, where)
        depth = max(self._depth, k)
        return self._fusion.fuse(
            snapshot.lexical(query, depth, where), snapshot.dense(vector, depth, where), depth
        )

    def _resolve(
        self, candidates: Candidates, wanted: int, mode: Mode
    ) -> tuple[tuple[Hit, ...], bool]:
        """The first hits with all that tie with the last, in order; whether none was missing."""
        scores = candidates.scores
        if len(scores) > wanted:
            wanted = int(np.searchsorted(-scores, -scores[wanted - 1], side="right"))
        passages = self._store.resolve(candidates.rows[:wanted])
        hits = [
            Hit(passage=passage, score=score, source=mode)
            for passage, score in zip(passages, scores[:wanted].tolist(), strict=True)
            if passage is not None
        ]
        if len({hit.score for hit in hits}) < len(hits):
            hits.sort(key=lambda hit: (-hit.score, tie_break(hit.passage.id)))
        return tuple(hits), len(hits) == len(passages)


def _check(query: str, k: int, mode: str) -> None:
    if not query.strip():
        raise SettingsError("The query is empty: say what to look for.")
    if k < 1:
        raise SettingsError(f"A search needs k >= 1, not {k!r}.")
    if mode not in get_args(Mode):
        raise SettingsError(f"Unknown mode {mode!r}: use one of {', '.join(get_args(Mode))}.")
