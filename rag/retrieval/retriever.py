"""The retriever: a query in, ranked passages out.

Searches the lexical and the dense index, fuses the two rankings, follows guided hops in mode
`graph`, and resolves the best rows to passages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.entities.extraction import mentioned_entities
from hoptrail.rag.entities.query import (
    QueryEntities,
    link_unknown_names,
    query_entities,
    surface_form,
)
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.passage_graph.guided_hops import Hop, HopQuery, guided_hops
from hoptrail.rag.passage_graph.hop_scoring import HopWeights
from hoptrail.rag.retrieval.duplicates import collapse_copies, followed_by, separate_copies
from hoptrail.rag.retrieval.fusion import Fusion, MinMaxFusion
from hoptrail.rag.retrieval.sentence_scores import SentenceSource, scored
from hoptrail.rag.store.graph_index.reader import PassageGraph
from hoptrail.rag.types import (
    EVERYTHING,
    Candidates,
    Hit,
    Mode,
    Passage,
    Ranking,
    ScoredSentence,
    Via,
    Where,
    check_k,
    tie_break,
)

DEFAULT_FUSION: Fusion = MinMaxFusion()
DEFAULT_HOP_WEIGHTS = HopWeights()

_ATTEMPTS = 3
_DEEPER = 4
_DEEPEST = 4096
"""Candidates from which on a ranking of copies is left as it is."""
_CACHED_QUERIES = 512


class SearchableSnapshot(Protocol):
    """One generation of a store, as the retriever reads it; rows are those of its catalogue."""

    @property
    def generation(self) -> int:
        """Number of the commit that it shows."""

    def lexical(self, query: str, k: int, where: Where) -> Candidates:
        """The k best rows by BM25."""

    def dense(self, vector: NDArray[np.float32], k: int, where: Where) -> Candidates:
        """The k best rows by cosine; `vector` is (dimension,) float32, L2-normalised."""

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of rows, (len(rows), dimension) float32."""

    def graph(self, where: Where) -> AbstractContextManager[PassageGraph]:
        """The links between the passages that a filter keeps."""


class SearchableStore(Protocol):
    """The interface of a store that the retriever needs."""

    @property
    def sentences(self) -> SentenceSource:
        """The stored sentence vectors."""

    @property
    def linked(self) -> bool:
        """Whether the store has a passage graph."""

    @property
    def generation(self) -> int:
        """Number of the newest commit; a result belongs to it if it is the same afterwards."""

    def snapshot(self) -> SearchableSnapshot:
        """The newest commit, for searches."""

    def resolve(self, rows: NDArray[np.int64]) -> tuple[Passage | None, ...]:
        """The passages of the rows; None where a row was replaced in the meantime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    candidates: Candidates
    hops: Mapping[int, Hop]
    complete: bool
    """Whether a deeper search would find nothing more."""
    copied: bool = False
    """Whether copies of a text were met already; they stand last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    query: str
    k: int
    mode: Mode
    where: Where


class Retriever:
    """Search over one store with one embedder; thread-safe if the two are."""

    def __init__(
        self,
        store: SearchableStore,
        embedder: Embedder,
        *,
        fusion: Fusion = DEFAULT_FUSION,
        hop_weights: HopWeights = DEFAULT_HOP_WEIGHTS,
        depth: int = 50,
    ) -> None:
        """Binds a store and an embedder.

        Args:
            store: the store to search.
            embedder: the one that the store was made with.
            fusion: how the lexical and the dense ranking become one.
            hop_weights: weights and limits of mode `graph`.
            depth: candidates taken from each index before fusion, at least 1; k if that is more.

        Raises:
            SettingsError: depth < 1.
        """
        if depth < 1:
            raise SettingsError(f"The depth of a search must be at least 1, not {depth!r}.")
        self._store = store
        self._embedder = embedder
        self._fusion = fusion
        self._hop_weights = hop_weights
        self._depth = depth
        self._query_vector = lru_cache(maxsize=_CACHED_QUERIES)(self._embed_query)

    @property
    def mode(self) -> Mode:
        """The default mode: `graph` if the store has a passage graph, else `hybrid`."""
        return "graph" if self._store.linked else "hybrid"

    def search(
        self, query: str, *, k: int = 10, mode: Mode | None = None, where: Where = EVERYTHING
    ) -> Ranking:
        """Ranks the passages that bear on a query.

        Args:
            query: not blank; what is beyond the embedder's window only counts as words.
            k: hits wanted, at least 1; fewer come back only when fewer are found.
            mode: `lexical` (BM25), `dense` (cosine), `hybrid` (both, fused) or `graph` (hybrid,
                then `guided_hops` along the names in what it finds). None: `self.mode`.
            where: equality filter on metadata, applied before ranking.

        Returns:
            Best first, equal scores ordered by `tie_break` of the passage id; copies of one text
            are one hit (`duplicates`). Scores are 0..1 for `hybrid`, 0 to about 2 for `graph`, BM25
            for `lexical`, the cosine for `dense`.

        Raises:
            SettingsError: a blank query, k < 1 or an unknown mode.
            BackendRefused: mode `graph` and a store without a passage graph.
        """
        mode = self.mode if mode is None else mode
        _check(query, k, mode)
        # A writer in another process may replace rows at any time: then it is ranked again.
        for attempt in range(_ATTEMPTS):
            snapshot = self._store.snapshot()
            generation = snapshot.generation
            request = _Request(query=query, k=k, mode=mode, where=where)
            # On the last attempt the gaps are filled from the runners-up.
            hits, whole = self._distinct(snapshot, request, fill=attempt == _ATTEMPTS - 1)
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

    def sentences(
        self, query: str, ids: Sequence[str]
    ) -> tuple[tuple[ScoredSentence, ...] | None, ...]:
        """Passages' sentences with their cosine to the query; None where no vectors are stored."""
        vector = self._query_vector(query)
        stored = self._store.sentences.of(ids)
        return tuple(scored(stored[one], vector) if one in stored else None for one in ids)

    def _embed_query(self, query: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._embedder.embed([query], "query")[0]
        vector.flags.writeable = False
        return vector

    def _distinct(
        self, snapshot: SearchableSnapshot, request: _Request, *, fill: bool
    ) -> tuple[tuple[Hit, ...], bool]:
        """The hits, copies of one text as one, and whether none is missing.

        Only where there are copies is more looked at than is wanted: all that was found, and
        deeper until there are k different texts.
        """
        depth = request.k
        while True:
            found = self._found(snapshot, request, depth)
            every = len(found.candidates.rows)
            if not found.copied and depth == request.k:
                wanted = every if fill else request.k
                hits, whole = self._resolve(found, wanted, request.mode)
                head = collapse_copies(hits[: request.k])
                if len(head) == len(hits[: request.k]):
                    return hits, whole
            hits, whole = self._resolve(found, every, request.mode)
            hits = collapse_copies(hits)
            if len(hits) >= request.k or found.complete or depth >= _DEEPEST:
                return hits, whole
            depth *= _DEEPER

    def _found(self, snapshot: SearchableSnapshot, request: _Request, depth: int) -> _Found:
        query, where = request.query, request.where
        if request.mode == "lexical":
            return _listed(snapshot.lexical(query, depth, where), depth)
        vector = self._query_vector(query)
        if request.mode == "dense":
            return _listed(snapshot.dense(vector, depth, where), depth)
        depth = max(self._depth, depth)
        dense = snapshot.dense(vector, depth, where)
        fused = self._fusion.fuse(snapshot.lexical(query, depth, where), dense, depth)
        if request.mode == "hybrid":
            return _listed(fused, depth)
        fused, copies = separate_copies(fused, self._store.resolve, self._hop_weights.reads)
        nearest = float(dense.scores[0]) if len(dense.scores) else 0.0
        with snapshot.graph(where) as graph:
            names = self._linked(query, fused.rows[: self._hop_weights.reads], graph)
            wanted = HopQuery(entities=names, vector=vector, nearest=nearest)
            result = guided_hops(wanted, fused, graph, snapshot.vectors, self._hop_weights)
        return _Found(
            candidates=followed_by(result.candidates, copies),
            hops=result.hops,
            complete=len(dense.rows) < depth,
            copied=len(copies) > 0,
        )

    def _linked(self, query: str, rows: NDArray[np.int64], graph: PassageGraph) -> QueryEntities:
        """The query's entities; a name that no passage has is linked to a similar one in `rows`."""
        names = query_entities(query)
        keys = sorted(names.mentions)
        counted = dict(zip(keys, graph.counts(keys).tolist(), strict=True))
        known = {*graph.about(keys).keys.tolist(), *(key for key in keys if counted[key])}
        unknown = {
            key: name
            for key, name in mentioned_entities(query).items()
            if key in names.mentions - known
        }
        if not unknown:
            return names
        read = (one for one in self._store.resolve(rows) if one is not None)
        texts = [f"{one.title}.\n{one.text}" for one in read]
        embed = partial(self._embedder.embed, kind="query")
        return names.meaning(link_unknown_names(unknown, texts, embed))

    def _resolve(self, found: _Found, wanted: int, mode: Mode) -> tuple[tuple[Hit, ...], bool]:
        """The first hits with all that tie with the last, in order; and whether none is missing."""
        rows, scores = found.candidates.rows, found.candidates.scores
        if len(scores) > wanted:
            wanted = int(np.searchsorted(-scores, -scores[wanted - 1], side="right"))
        passages = self._store.resolve(rows[:wanted])
        hits = [
            Hit(passage=passage, score=score, source=mode)
            for passage, score in zip(passages, scores[:wanted].tolist(), strict=True)
            if passage is not None
        ]
        if found.hops:
            named_by = self._named_by(found.hops, rows[:wanted], passages)
            hits = [replace(hit, via=named_by.get(hit.passage.id)) for hit in hits]
        if len({hit.score for hit in hits}) < len(hits):
            hits.sort(key=lambda hit: (-hit.score, tie_break(hit.passage.id)))
        return tuple(hits), len(hits) == len(passages)

    def _named_by(
        self,
        hops: Mapping[int, Hop],
        rows: NDArray[np.int64],
        passages: Sequence[Passage | None],
    ) -> dict[str, Via]:
        """By passage id: the last hop to it; names are spelled as in the source passage."""
        taken = [
            (passage.id, hops[row])
            for row, passage in zip(rows.tolist(), passages, strict=True)
            if passage is not None and row in hops
        ]
        sources = np.array(sorted({hop.row for _, hop in taken}), dtype=np.int64)
        read = dict(zip(sources.tolist(), self._store.resolve(sources), strict=True))
        return {
            identifier: Via(
                name=surface_form(source.text, hop.key) or source.title,
                passage_id=source.id,
                title=source.title,
            )
            for identifier, hop in taken
            if (source := read[hop.row]) is not None
        }


def _listed(candidates: Candidates, depth: int) -> _Found:
    return _Found(candidates=candidates, hops={}, complete=len(candidates.rows) < depth)


def _check(query: str, k: int, mode: str) -> None:
    if not query.strip():
        raise SettingsError("The query is empty: say what to look for.")
    check_k(k)
    if mode not in get_args(Mode):
        raise SettingsError(f"Unknown mode {mode!r}: use one of {', '.join(get_args(Mode))}.")
