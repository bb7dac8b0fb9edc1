"""Guided hops: multi-hop retrieval along the names in the best passages, without a model.

A passage near the question names the things that the rest of the question is about. The passages
that those names lead to are scored by how near they come to what the first passage leaves open.
The graph is HippoRAG 2's passage-entity graph (arXiv 2502.14802). In place of its personalised
PageRank, which ranked lower in `evals/benchmarks/graph`, hops are scored by `hop_scoring`. The
weights are the best of three training sets, with titles and without; results change little around
these values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities.query import QueryEntities
from hoptrail.rag.passage_graph.hop_scoring import (
    Frontier,
    HopWeights,
    Reals,
    mention_hops,
    subjects_of,
    title_hops,
)
from hoptrail.rag.store.graph_index.reader import AboutLinks, MentionLinks, PassageGraph
from hoptrail.rag.types import Candidates, Rows

Vectors = Callable[[Rows], NDArray[np.float32]]
"""The rows' vectors, (len(rows), dimension) float32, L2-normalised."""


_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The last hop to a passage."""

    row: int
    """Where it was read."""
    key: int
    """The name that was followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopResult:
    """Where guided hops arrived."""

    candidates: Candidates
    roads: Mapping[int, Hop]
    """Of the rows that stand higher by a hop than by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopQuery:
    """What is looked for."""

    asked: QueryEntities
    vector: NDArray[np.float32]
    """(dimension,) float32, L2-normalised."""
    nearest: float
    """The cosine of the passage nearest to it."""


def guided_hops(
    query: HopQuery, own: Candidates, graph: PassageGraph, vectors: Vectors, guide: HopWeights
) -> HopResult:
    """Lifts what the best passages lead to.

    Args:
        query: the question.
        own: how near passages are to it by themselves, best first, scores >= 0.
        graph: where names lead.
        vectors: those of passages.
        guide: the weights.

    Returns:
        All of `own` and what was hopped to, best first; standings from 0 to about 2.
    """
    return _Walker(query, graph, vectors, guide).walk(own)


class _Walker:
    """One question's hops."""

    def __init__(
        self, query: HopQuery, graph: PassageGraph, vectors: Vectors, guide: HopWeights
    ) -> None:
        self._query = query
        self._graph = graph
        self._vectors = vectors
        self._guide = guide
        # What the question itself names is no news where a passage names it too.
        self._known: set[int] = set()

    def walk(self, own: Candidates) -> HopResult:
        """From the passages' own standing to that by the best way to them."""
        top = float(own.scores[0]) if len(own.scores) and own.scores[0] > 0 else 1.0
        scores = (own.scores.astype(np.float64) / top).tolist()
        standing = self._named(dict(zip(own.rows.tolist(), scores, strict=True)))
        roads: dict[int, Hop] = {}
        read: set[int] = set()
        for _ in range(self._guide.rounds):
            reads = [row for row in _first(standing, self._guide.reads) if row not in read]
            if reads:
                read.update(reads)
                standing = self._lifted(reads, standing, roads)
        return HopResult(candidates=_ranked(standing), roads=roads)

    def _named(self, start: Mapping[int, float]) -> dict[int, float]:
        """The standings once the question's own names count."""
        guide, asked = self._guide, self._query.asked
        titled = _titled(self._graph.about(list(asked.phrases)))
        longest = asked.longest(titled.keys())
        self._known = {*asked.mentions, *longest}
        near = self._near({row for key in longest for row, _ in titled[key]})
        standing = dict(start)
        for key, length in longest.items():
            telling = guide.named * min(1.0, 0.5 + 0.25 * length)
            for row, sure, place in _siblings(titled[key], near):
                value = start.get(row, 0.0) + telling * sure / (1 + 0.1 * place)
                standing[row] = max(standing.get(row, 0.0), value)
        spoken = self._graph.mentioning(list(asked.mentions - longest.keys()), guide.rare)
        for rows in _groups(spoken).values():
            worths = guide.spoken / (1 + math.log(len(rows))) * self._told(rows)
            for row, worth in zip(rows.tolist(), worths.tolist(), strict=True):
                standing[row] = max(standing.get(row, 0.0), start.get(row, 0.0) + worth)
        return standing

    def _lifted(
        self, reads: Sequence[int], standing: Mapping[int, float], roads: dict[int, Hop]
    ) -> dict[int, float]:
        """The standings after one round of hops; notes the roads to what they lift."""
        guide, nearest = self._guide, self._query.nearest
        reach = self._reach(reads)
        shared = mention_hops(reach, guide)
        arrived, places = np.unique(shared.target, return_inverse=True)
        shared.worth[:] *= self._told(reach.rows[arrived])[places]
        ways = title_hops(reach, guide) + shared
        kept = [
            guide.carry * standing[row] * _diluted(len(out.mentions), guide.names)
            for row, out in zip(reads, reach.outgoing, strict=True)
        ]
        near = np.clip(reach.near / nearest, 0, 1) if nearest > 0 else np.zeros(len(reach.rows))
        values = np.array(kept)[ways.source] * ways.worth
        values *= (1 - guide.own + guide.own * near)[ways.target]
        lifted = dict(standing)
        targets = reach.rows[ways.target].tolist()
        # Worst first, so that the best way to a passage is the one that stays.
        for at in np.lexsort((ways.key, values)).tolist():
            row, source, value = targets[at], reads[ways.source[at]], float(values[at])
            if row != source and value > lifted.get(row, 0.0):
                lifted[row] = value
                roads[row] = Hop(row=source, key=int(ways.key[at]))
        return lifted

    def _reach(self, reads: Sequence[int]) -> Frontier:
        """All that the names in the passages read lead to."""
        outgoing = self._graph.outgoing(reads)
        titled = self._graph.about(self._new(out.candidates for out in outgoing))
        spoken = self._new(
            chain.from_iterable((out.mentions, subjects_of(out)) for out in outgoing)
        )
        shared = self._graph.mentioning(spoken, self._guide.common)
        keys, places = np.unique(titled.keys, return_inverse=True)
        rows = np.unique(np.concatenate((titled.rows, shared.rows)))
        left = _left_open(self._query.vector, self._vectors(np.array(reads, dtype=np.int64)))
        vectors = self._vectors(rows)
        return Frontier(
            rows=rows,
            near=_cosines(self._query.vector[None], vectors)[0],
            still=_cosines(left, vectors),
            titled=titled,
            mentioned=self._graph.counts(keys.tolist())[places],
            shared=shared,
            outgoing=outgoing,
        )

    def _new(self, keys: Iterable[NDArray[np.int64]]) -> list[int]:
        """All of the keys that the question does not name."""
        return sorted({key for some in keys for key in some.tolist()} - self._known)

    def _near(self, rows: Iterable[int]) -> dict[int, float]:
        """The rows' cosines to the question."""
        ordered = np.array(sorted(rows), dtype=np.int64)
        cosines = _cosines(self._query.vector[None], self._vectors(ordered))[0]
        return dict(zip(ordered.tolist(), cosines.tolist(), strict=True))

    def _told(self, rows: Rows) -> NDArray[np.float64]:
        """What a mention in each of the rows is worth."""
        counts = self._graph.names(rows.tolist())
        return np.minimum(1.0, self._guide.told / np.maximum(1, counts))


def _diluted(names: int, most: int) -> float:
    """What each name of a passage is worth that has so many."""
    return min(1.0, math.sqrt(most / max(1, names)))


def _left_open(vector: NDArray[np.float32], read: NDArray[np.float32]) -> Reals:
    """What each passage read leaves open: the question's direction without the passage's own."""
    question, passages = vector.astype(np.float64), read.astype(np.float64)
    left = question - (passages @ question)[:, None] * passages
    unit: Reals = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-6)
    return unit


def _cosines(some: NDArray[np.floating], others: NDArray[np.float32]) -> Reals:
    """(len(some), len(others)): rounded, since a product's last digits depend on where rows lie."""
    products = some.astype(np.float64) @ others.astype(np.float64).T
    rounded: Reals = np.round(products, _DIGITS)
    return rounded


def _titled(found: AboutLinks) -> dict[int, list[tuple[int, float]]]:
    """The rows that are about each key."""
    titled: dict[int, list[tuple[int, float]]] = {}
    for key, row, sure in zip(
        found.keys.tolist(), found.rows.tolist(), found.strengths.tolist(), strict=True
    ):
        titled.setdefault(key, []).append((row, sure))
    return titled


def _groups(found: MentionLinks) -> dict[int, Rows]:
    """The rows that mention each key."""
    if not len(found.keys):
        return {}
    starts = np.flatnonzero(np.diff(found.keys, prepend=found.keys[0] - 1))
    groups = np.split(found.rows, starts[1:])
    return dict(zip(found.keys[starts].tolist(), groups, strict=True))


def _siblings(
    found: Sequence[tuple[int, float]], near: Mapping[int, float]
) -> Iterator[tuple[int, float, int]]:
    """Passages about one thing, each with its strength and how many of them are nearer."""
    scores = [near[row] * sure for row, sure in found]
    descending = sorted(-score for score in scores)
    for (row, sure), score in zip(found, scores, strict=True):
        yield row, sure, int(np.searchsorted(descending, -score, side="left"))


def _first(standing: Mapping[int, float], count: int) -> list[int]:
    """The best rows and all that tie with the last of them."""
    order = sorted(standing, key=lambda row: -standing[row])
    if len(order) <= count:
        return order
    last = standing[order[count - 1]]
    return [row for row in order if standing[row] >= last]


def _ranked(standing: Mapping[int, float]) -> Candidates:
    rows = np.fromiter(standing.keys(), dtype=np.int64, count=len(standing))
    scores = np.fromiter(standing.values(), dtype=np.float32, count=len(standing))
    order = np.lexsort((rows, -scores))
    return Candidates(rows=rows[order], scores=scores[order])
