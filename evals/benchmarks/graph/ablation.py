"""Ablation study of graph search: recall of guided hops without, or with other, components.

    python -m hoptrail.evals.benchmarks.graph DATA --ablation [--sets NAME...] [--variants NAME...]

The systems are guided hops with one weight or one kind of link turned off, with other numbers of
rounds and reads, with personalised PageRank in place of hops, and with HuixiangDou2's dual-level
retrieval (`dual_level`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hoptrail.evals.benchmarks.graph.pagerank import pagerank
from hoptrail.evals.benchmarks.graph.recall import HITS, RecallScore, scorable, score
from hoptrail.evals.benchmarks.graph.variants import Variant, prepare_variant
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.entities.query import query_entities
from hoptrail.rag.entities.words import name_spans, split_words
from hoptrail.rag.passage_graph.guided_hops import HopQuery, guided_hops
from hoptrail.rag.passage_graph.hop_scoring import HopWeights
from hoptrail.rag.retrieval.retriever import DEFAULT_FUSION, DEFAULT_HOP_WEIGHTS
from hoptrail.rag.store.graph_index.reader import (
    AboutLinks,
    MentionLinks,
    PassageGraph,
    PassageLinks,
)
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class DualLevelQuery:
    """Entities and relation words of a question, the two levels of dual-level retrieval."""

    entities: tuple[str, ...]
    """Names in the question, spelled as there, each once."""

    relations: str
    """The question without its names; may be empty."""


def dual_level(question: str) -> DualLevelQuery:
    """Splits a question into its names and the words around them.

    HuixiangDou2's dual level (arXiv 2503.06474; repository at commit 8fd41f3) has a model write
    low-level keywords, which are searched among entities, and high-level ones, searched among
    relations. Here both come from the question itself without a model. A question without capitals
    has no names.
    """
    found = split_words(question)
    spans = list(name_spans(found))
    named = {at for first, last in spans for at in range(first, last + 1)}
    kept = [
        part
        for at, part in enumerate(found.parts)
        # Words are at odd places; the gap before a name's further words goes with them.
        if (at - 1) // 2 not in named or (at % 2 == 0 and (at - 1) // 2 + 1 not in named)
    ]
    return DualLevelQuery(
        entities=tuple(dict.fromkeys(found.surface(span) for span in spans)),
        relations=" ".join("".join(kept).split()),
    )


_DEPTH = 50
_SEEDS = 10
_OFF = 10**6


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMask:
    """Passage graph with kinds of links hidden, for the ablation."""

    graph: PassageGraph
    titles: bool = True
    """Whether names lead to the passages that have them as titles."""
    aliases: bool = True
    """Whether variants of a title count, or only the title as written."""
    mentions: bool = True
    """Whether names lead to the passages that mention them."""

    def outgoing(self, rows: Sequence[int]) -> tuple[PassageLinks, ...]:
        """Links from rows to names (`PassageGraph.outgoing`)."""
        found = self.graph.outgoing(rows)
        if self.titles:
            return found
        none = np.empty(0, dtype=np.int64)
        return tuple(replace(out, candidates=none) for out in found)

    def about(self, keys: Sequence[int]) -> AboutLinks:
        """Rows that have names as their subjects (`PassageGraph.about`)."""
        found = self.graph.about(keys)
        sure = found.strengths >= (0.0 if self.aliases else 1.0)
        return AboutLinks(
            keys=found.keys[sure], rows=found.rows[sure], strengths=found.strengths[sure]
        )

    def mentioning(self, keys: Sequence[int], limit: int) -> MentionLinks:
        """Rows that mention names (`PassageGraph.mentioning`)."""
        return self.graph.mentioning(keys if self.mentions else (), limit)

    def counts(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """Number of rows that mention each name (`PassageGraph.counts`)."""
        return self.graph.counts(keys)

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """Number of names that each row mentions (`PassageGraph.names`)."""
        return self.graph.names(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededQuery:
    """Question with its query vector, names and hybrid search candidates."""

    text: str
    query: HopQuery
    own: Candidates


class AblationStore:
    """Snapshot, passage graph and vectors of a store, and a cache of seeded queries.

    A context manager.
    """

    def __init__(self, root: Path, embedder: Embedder) -> None:
        self._stack = ExitStack()
        self._store = self._stack.enter_context(Store.open(root, embedder=embedder))
        self._embedder = embedder
        self._snapshot = self._store.snapshot()
        self.graph: PassageGraph = self._stack.enter_context(self._snapshot.graph())
        self.vectors = self._snapshot.vectors
        self._starts: dict[str, SeededQuery] = {}

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the store."""
        self._stack.close()

    def start(self, question: str) -> SeededQuery:
        """Hybrid search candidates of a question, cached."""
        known = self._starts.get(question)
        if known is not None:
            return known
        vector = self._embedder.embed([question], "query")[0]
        dense = self._snapshot.dense(vector, _DEPTH)
        own = DEFAULT_FUSION.fuse(self._snapshot.lexical(question, _DEPTH), dense, _DEPTH)
        nearest = float(dense.scores[0]) if len(dense.scores) else 0.0
        query = HopQuery(entities=query_entities(question), vector=vector, nearest=nearest)
        start = self._starts[question] = SeededQuery(text=question, query=query, own=own)
        return start

    def records(self, found: Candidates) -> list[str]:
        """Record ids of the best `HITS` candidates, best first; an id may repeat."""
        passages = self._store.resolve(found.rows[:HITS])
        return [one.document_id for one in passages if one is not None]


RetrievalSystem = Callable[[AblationStore, SeededQuery], Candidates]


def systems() -> Mapping[str, RetrievalSystem]:
    """All systems of the ablation by name; the full system comes first."""
    return {
        "all of it": _hops(),
        **_without_component(),
        **_rounds_and_reads(),
        **_pagerank_systems(),
        **_dual_level_systems(),
    }


def ablation(
    folder: Path, variant: Variant, cache: StoreCache, chosen: Mapping[str, RetrievalSystem]
) -> list[RecallScore]:
    """Recall of each of the systems on one data set.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepare_variant(folder, variant, cache)
    questions = scorable(made.dataset.questions)
    with AblationStore(made.store.root, cache.embedder) as bench:
        return [
            score(made, name, _rank(bench, system), questions) for name, system in chosen.items()
        ]


def _rank(bench: AblationStore, system: RetrievalSystem) -> Callable[[str], Iterable[str]]:
    return lambda question: bench.records(system(bench, bench.start(question)))


def _hops(guide: HopWeights = DEFAULT_HOP_WEIGHTS, **visible: bool) -> RetrievalSystem:
    """Guided hops with other weights, or with kinds of links hidden (`GraphMask`)."""

    def walk(bench: AblationStore, start: SeededQuery) -> Candidates:
        graph = GraphMask(graph=bench.graph, **visible) if visible else bench.graph
        return guided_hops(start.query, start.own, graph, bench.vectors, guide).candidates

    return walk


def _without_component() -> dict[str, RetrievalSystem]:
    guide = DEFAULT_HOP_WEIGHTS
    return {
        "hybrid alone": lambda _bench, start: start.own,
        "without names of the question": _hops(replace(guide, title_bonus=0.0, mention_bonus=0.0)),
        "without its titles": _hops(replace(guide, title_bonus=0.0)),
        "without its rare names": _hops(replace(guide, mention_bonus=0.0)),
        "without hops": _hops(replace(guide, rounds=0)),
        "without hops by title": _hops(titles=False),
        "without hops by rare mention": _hops(replace(guide, rare_name_weight=0.0)),
        "without hops by open mention": _hops(replace(guide, residual_weight=0.0)),
        "without hops by mention": _hops(replace(guide, rare_name_weight=0.0, residual_weight=0.0)),
        "without any mentions": _hops(mentions=False),
        "without degree": _hops(replace(guide, popularity_penalty=0.0)),
        "without the target's own share": _hops(replace(guide, target_share=0.0)),
        "without variants of titles": _hops(aliases=False),
        "without dilution": _hops(replace(guide, source_name_limit=_OFF)),
        "parts of names as good as names": _hops(replace(guide, partial_title=1.0)),
    }


def _rounds_and_reads() -> dict[str, RetrievalSystem]:
    guide = DEFAULT_HOP_WEIGHTS
    return {
        "two rounds": _hops(replace(guide, rounds=2)),
        "three rounds": _hops(replace(guide, rounds=3)),
        "twenty passages read": _hops(replace(guide, reads=20)),
        "five passages read": _hops(replace(guide, reads=5)),
    }


def _pagerank_systems() -> dict[str, RetrievalSystem]:
    """Systems with PageRank in place of hops, and added to them."""

    def from_hybrid(bench: AblationStore, start: SeededQuery) -> Candidates:
        return pagerank(_seeds(start.own), bench.graph)

    def from_names(bench: AblationStore, start: SeededQuery) -> Candidates:
        return pagerank(_seeds(named(bench, start)), bench.graph)

    def beside_names(bench: AblationStore, start: SeededQuery) -> Candidates:
        own = named(bench, start)
        return _weighted_sum(own, pagerank(_seeds(own), bench.graph), 1.0)

    def after_hops(share: float) -> RetrievalSystem:
        def walk(bench: AblationStore, start: SeededQuery) -> Candidates:
            own = full_system(bench, start)
            return _weighted_sum(own, pagerank(_seeds(own), bench.graph), share)

        return walk

    named = _hops(replace(DEFAULT_HOP_WEIGHTS, rounds=0))
    full_system = _hops()
    return {
        "PageRank from hybrid": from_hybrid,
        "PageRank from hybrid and names": from_names,
        "PageRank beside hybrid and names": beside_names,
        "hops, and 0.1 of PageRank": after_hops(0.1),
        "hops, and 0.3 of PageRank": after_hops(0.3),
    }


def _dual_level_systems() -> dict[str, RetrievalSystem]:
    """Systems with HuixiangDou2's two levels of a question (`dual_level`)."""
    full_system = _hops()

    def second_search(share: float) -> RetrievalSystem:
        def walk(bench: AblationStore, start: SeededQuery) -> Candidates:
            rest = dual_level(start.text).relations
            if not rest.strip():
                return full_system(bench, start)
            own = _weighted_sum(start.own, bench.start(rest).own, share)
            return full_system(bench, replace(start, own=own))

        return walk

    def entity_search(bench: AblationStore, start: SeededQuery) -> Candidates:
        names = " ".join(dual_level(start.text).entities)
        if not names:
            return full_system(bench, start)
        return full_system(
            bench, replace(start, own=_weighted_sum(start.own, bench.start(names).own, 0.3))
        )

    def open_vector(bench: AblationStore, start: SeededQuery) -> Candidates:
        rest = dual_level(start.text).relations
        if not rest.strip():
            return full_system(bench, start)
        level = bench.start(rest).query
        query = replace(start.query, vector=level.vector, nearest=level.nearest)
        return full_system(bench, replace(start, query=query))

    return {
        "relations as what is open": open_vector,
        "and 0.3 of a search for relations": second_search(0.3),
        "and 0.3 of a search for entities": entity_search,
    }


def _seeds(found: Candidates) -> Candidates:
    """The ten best candidates as PageRank seeds, weighted by their squared scores."""
    return Candidates(rows=found.rows[:_SEEDS], scores=np.maximum(0, found.scores[:_SEEDS]) ** 2)


def _weighted_sum(own: Candidates, other: Candidates, share: float) -> Candidates:
    """Sum of two rankings' scores, each divided by its best; the second times `share`."""
    total: dict[int, float] = {}
    for found, weight in ((own, 1.0), (other, share)):
        top = float(found.scores[0]) if len(found.scores) and found.scores[0] > 0 else 1.0
        for row, value in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
            total[row] = total.get(row, 0.0) + weight * value / top
    rows = np.array(sorted(total, key=lambda row: (-total[row], row)), dtype=np.int64)
    scores = np.array([total[row] for row in rows.tolist()], dtype=np.float32)
    return Candidates(rows=rows, scores=scores)
