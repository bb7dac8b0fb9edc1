"""The two levels of a question: what it names, and what it wants to know of that.

HuixiangDou2's dual level (arXiv 2503.06474; repository at commit 8fd41f3) has a model write
low-level keywords, which are looked for among entities, and high-level ones, looked for among
relations. Here both come from the question itself without a model: its names, and its words
without them.
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

from hoptrail.evals.benchmarks.graph.recall import HITS, Score, score, whole
from hoptrail.evals.benchmarks.graph.variants import Variant, prepared
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.entities.query import query_entities
from hoptrail.rag.entities.words import name_spans, split_words
from hoptrail.rag.passage_graph.guided_hops import HopQuery, guided_hops
from hoptrail.rag.passage_graph.hop_scoring import HopWeights
from hoptrail.rag.passage_graph.pagerank import pagerank
from hoptrail.rag.retrieval.retriever import DEFAULT_FUSION, DEFAULT_GUIDE
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
    """A question on both levels."""

    entities: tuple[str, ...]
    """The names in it, as they stand there, each once."""

    relations: str
    """What is left of it without them; may be empty."""


def dual_level(question: str) -> DualLevelQuery:
    """The levels of a question; one without capitals is all relation."""
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
    """A graph with parts of it out of sight."""

    graph: PassageGraph
    titles: bool = True
    """Whether a passage leads to what its names are the titles of."""
    aliases: bool = True
    """Whether a passage is about more than its title as it stands."""
    mentions: bool = True
    """Whether a name leads to what mentions it."""

    def outgoing(self, rows: Sequence[int]) -> tuple[PassageLinks, ...]:
        """Where rows point to."""
        found = self.graph.outgoing(rows)
        if self.titles:
            return found
        none = np.empty(0, dtype=np.int64)
        return tuple(replace(out, candidates=none) for out in found)

    def about(self, keys: Sequence[int]) -> AboutLinks:
        """The rows about keys."""
        found = self.graph.about(keys)
        sure = found.strengths >= (0.0 if self.aliases else 1.0)
        return AboutLinks(
            keys=found.keys[sure], rows=found.rows[sure], strengths=found.strengths[sure]
        )

    def mentioning(self, keys: Sequence[int], limit: int) -> MentionLinks:
        """The rows that mention keys."""
        return self.graph.mentioning(keys if self.mentions else (), limit)

    def counts(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """How many rows mention keys."""
        return self.graph.counts(keys)

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """How many names rows mention."""
        return self.graph.names(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A question with its hybrid candidates."""

    text: str
    query: HopQuery
    own: Candidates


class Bench:
    """One store's snapshot and links, and the questions asked of it so far; use it as a block."""

    def __init__(self, root: Path, embedder: Embedder) -> None:
        self._stack = ExitStack()
        self._store = self._stack.enter_context(Store.open(root, embedder=embedder))
        self._embedder = embedder
        self._snapshot = self._store.snapshot()
        self.graph: PassageGraph = self._stack.enter_context(self._snapshot.graph())
        self.vectors = self._snapshot.vectors
        self._starts: dict[str, Start] = {}

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

    def start(self, question: str) -> Start:
        """A question's hybrid candidates, searched for once."""
        known = self._starts.get(question)
        if known is not None:
            return known
        vector = self._embedder.embed([question], "query")[0]
        dense = self._snapshot.dense(vector, _DEPTH)
        own = DEFAULT_FUSION.fuse(self._snapshot.lexical(question, _DEPTH), dense, _DEPTH)
        nearest = float(dense.scores[0]) if len(dense.scores) else 0.0
        query = HopQuery(asked=query_entities(question), vector=vector, nearest=nearest)
        start = self._starts[question] = Start(text=question, query=query, own=own)
        return start

    def records(self, found: Candidates) -> list[str]:
        """The records of the best candidates."""
        passages = self._store.resolve(found.rows[:HITS])
        return [one.document_id for one in passages if one is not None]


System = Callable[[Bench, Start], Candidates]


def systems() -> Mapping[str, System]:
    """Every system by name, the whole one first."""
    return {"all of it": _guide(), **_without(), **_hopping(), **_walks(), **_levels()}


def ablation(
    folder: Path, variant: Variant, cache: StoreCache, chosen: Mapping[str, System]
) -> list[Score]:
    """Each of the systems on one set.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepared(folder, variant, cache)
    questions = whole(made.dataset.questions)
    with Bench(made.store.root, cache.embedder) as bench:
        return [
            score(made, name, _rank(bench, system), questions) for name, system in chosen.items()
        ]


def _rank(bench: Bench, system: System) -> Callable[[str], Iterable[str]]:
    return lambda question: bench.records(system(bench, bench.start(question)))


def _guide(guide: HopWeights = DEFAULT_GUIDE, **sight: bool) -> System:
    """Guided hops with other weights, or with parts of the graph out of sight."""

    def walk(bench: Bench, start: Start) -> Candidates:
        graph = GraphMask(graph=bench.graph, **sight) if sight else bench.graph
        return guided_hops(start.query, start.own, graph, bench.vectors, guide).candidates

    return walk


def _without() -> dict[str, System]:
    guide = DEFAULT_GUIDE
    return {
        "hybrid alone": lambda _bench, start: start.own,
        "without names of the question": _guide(replace(guide, named=0.0, spoken=0.0)),
        "without its titles": _guide(replace(guide, named=0.0)),
        "without its rare names": _guide(replace(guide, spoken=0.0)),
        "without hops": _guide(replace(guide, rounds=0)),
        "without hops by title": _guide(titles=False),
        "without hops by rare mention": _guide(replace(guide, shared=0.0)),
        "without hops by open mention": _guide(replace(guide, open=0.0)),
        "without hops by mention": _guide(replace(guide, shared=0.0, open=0.0)),
        "without any mentions": _guide(mentions=False),
        "without degree": _guide(replace(guide, degree=0.0)),
        "without the target's own share": _guide(replace(guide, own=0.0)),
        "without variants of titles": _guide(aliases=False),
        "without dilution": _guide(replace(guide, names=_OFF)),
        "parts of names as good as names": _guide(replace(guide, whole=1.0)),
    }


def _hopping() -> dict[str, System]:
    guide = DEFAULT_GUIDE
    return {
        "two rounds": _guide(replace(guide, rounds=2)),
        "three rounds": _guide(replace(guide, rounds=3)),
        "twenty passages read": _guide(replace(guide, reads=20)),
        "five passages read": _guide(replace(guide, reads=5)),
    }


def _walks() -> dict[str, System]:
    """PageRank in place of hops, and on top of them."""

    def from_hybrid(bench: Bench, start: Start) -> Candidates:
        return pagerank(_seeds(start.own), bench.graph)

    def from_names(bench: Bench, start: Start) -> Candidates:
        return pagerank(_seeds(named(bench, start)), bench.graph)

    def beside_names(bench: Bench, start: Start) -> Candidates:
        own = named(bench, start)
        return _mixed(own, pagerank(_seeds(own), bench.graph), 1.0)

    def after_hops(share: float) -> System:
        def walk(bench: Bench, start: Start) -> Candidates:
            own = whole_walk(bench, start)
            return _mixed(own, pagerank(_seeds(own), bench.graph), share)

        return walk

    named = _guide(replace(DEFAULT_GUIDE, rounds=0))
    whole_walk = _guide()
    return {
        "PageRank from hybrid": from_hybrid,
        "PageRank from hybrid and names": from_names,
        "PageRank beside hybrid and names": beside_names,
        "hops, and 0.1 of PageRank": after_hops(0.1),
        "hops, and 0.3 of PageRank": after_hops(0.3),
    }


def _levels() -> dict[str, System]:
    """HuixiangDou2's two levels of a question (`dual_level`)."""
    whole_walk = _guide()

    def second_search(share: float) -> System:
        def walk(bench: Bench, start: Start) -> Candidates:
            rest = dual_level(start.text).relations
            if not rest.strip():
                return whole_walk(bench, start)
            own = _mixed(start.own, bench.start(rest).own, share)
            return whole_walk(bench, replace(start, own=own))

        return walk

    def entity_search(bench: Bench, start: Start) -> Candidates:
        names = " ".join(dual_level(start.text).entities)
        if not names:
            return whole_walk(bench, start)
        return whole_walk(bench, replace(start, own=_mixed(start.own, bench.start(names).own, 0.3)))

    def open_vector(bench: Bench, start: Start) -> Candidates:
        rest = dual_level(start.text).relations
        if not rest.strip():
            return whole_walk(bench, start)
        level = bench.start(rest).query
        query = replace(start.query, vector=level.vector, nearest=level.nearest)
        return whole_walk(bench, replace(start, query=query))

    return {
        "relations as what is open": open_vector,
        "and 0.3 of a search for relations": second_search(0.3),
        "and 0.3 of a search for entities": entity_search,
    }


def _seeds(found: Candidates) -> Candidates:
    """The ten best, weighed by the square of their score."""
    return Candidates(rows=found.rows[:_SEEDS], scores=np.maximum(0, found.scores[:_SEEDS]) ** 2)


def _mixed(own: Candidates, other: Candidates, share: float) -> Candidates:
    """Scores of both over each one's best, the other's times `share`."""
    total: dict[int, float] = {}
    for found, weight in ((own, 1.0), (other, share)):
        top = float(found.scores[0]) if len(found.scores) and found.scores[0] > 0 else 1.0
        for row, value in zip(found.rows.tolist(), found.scores.tolist(), strict=True):
            total[row] = total.get(row, 0.0) + weight * value / top
    rows = np.array(sorted(total, key=lambda row: (-total[row], row)), dtype=np.int64)
    scores = np.array([total[row] for row in rows.tolist()], dtype=np.float32)
    return Candidates(rows=rows, scores=scores)
