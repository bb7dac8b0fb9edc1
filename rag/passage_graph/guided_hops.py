"""Guided hops: multi-hop retrieval along the names in the best passages, without a model.

A passage similar to the question names the things that the rest of the question is about. The
passages that those names lead to are scored by their similarity to the residual: the part of the
question's vector that the first passage leaves open.
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
    """The last hop to a passage: its source and the name that was followed."""

    row: int
    """Row of the passage in which the name was read."""
    key: int
    """Key of the name that was followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopResult:
    """The ranking after guided hops, and the hop that raised each passage."""

    candidates: Candidates
    hops: Mapping[int, Hop]
    """By row, of the rows whose score a hop raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopQuery:
    """A question as guided hops read it: its entities and its vector."""

    entities: QueryEntities
    vector: NDArray[np.float32]
    """(dimension,) float32, L2-normalised."""
    nearest: float
    """Cosine of the most similar passage, -1..1."""


def guided_hops(
    query: HopQuery,
    candidates: Candidates,
    graph: PassageGraph,
    vectors: Vectors,
    weights: HopWeights,
) -> HopResult:
    """Re-ranks candidates by hops along the names in the best of them.

    Args:
        query: the question.
        candidates: passages found without hops, best first, scores >= 0.
        graph: the links between names and passages.
        vectors: returns the vectors of passages by row.
        weights: the weights of hops.

    Returns:
        All of `candidates` and the passages hopped to, best first; scores from 0 to about 2.
    """
    return _HopRun(query, graph, vectors, weights).run(candidates)


class _HopRun:
    """The rounds of hops of one question."""

    def __init__(
        self, query: HopQuery, graph: PassageGraph, vectors: Vectors, weights: HopWeights
    ) -> None:
        self._query = query
        self._graph = graph
        self._vectors = vectors
        self._weights = weights
        # What the question itself names is no news where a passage names it too.
        self._known: set[int] = set()

    def run(self, candidates: Candidates) -> HopResult:
        """Ranks passages by their own score or by that of the best hop to them."""
        found = candidates.scores
        top = float(found[0]) if len(found) and found[0] > 0 else 1.0
        own = (found.astype(np.float64) / top).tolist()
        scores = self._add_query_names(dict(zip(candidates.rows.tolist(), own, strict=True)))
        hops: dict[int, Hop] = {}
        read: set[int] = set()
        for _ in range(self._weights.rounds):
            reads = [row for row in _best_rows(scores, self._weights.reads) if row not in read]
            if reads:
                read.update(reads)
                scores = self._hop(reads, scores, hops)
        return HopResult(candidates=_ranked(scores), hops=hops)

    def _add_query_names(self, start: Mapping[int, float]) -> dict[int, float]:
        """The scores with the bonuses for titles and rare names that the question names."""
        weights, entities = self._weights, self._query.entities
        about = _rows_about(self._graph.about(list(entities.phrases)))
        longest = entities.longest(about.keys())
        self._known = {*entities.mentions, *longest}
        similarity = self._similarity({row for key in longest for row, _ in about[key]})
        scores = dict(start)
        for key, length in longest.items():
            bonus = weights.title_bonus * min(1.0, 0.5 + 0.25 * length)
            for row, strength, rank in _with_ranks(about[key], similarity):
                value = start.get(row, 0.0) + bonus * strength / (1 + 0.1 * rank)
                scores[row] = max(scores.get(row, 0.0), value)
        names = list(entities.mentions - longest.keys())
        for rows in _groups(self._graph.mentioning(names, weights.rare_name_limit)).values():
            bonuses = weights.mention_bonus / (1 + math.log(len(rows))) * self._focus(rows)
            for row, bonus in zip(rows.tolist(), bonuses.tolist(), strict=True):
                scores[row] = max(scores.get(row, 0.0), start.get(row, 0.0) + bonus)
        return scores

    def _hop(
        self, reads: Sequence[int], scores: Mapping[int, float], hops: dict[int, Hop]
    ) -> dict[int, float]:
        """The scores after one round of hops; enters the hops that raised a score into `hops`."""
        weights, nearest = self._weights, self._query.nearest
        frontier = self._frontier(reads)
        shared = mention_hops(frontier, weights)
        arrived, places = np.unique(shared.target, return_inverse=True)
        shared.weight[:] *= self._focus(frontier.rows[arrived])[places]
        found = title_hops(frontier, weights) + shared
        carried = [
            weights.decay * scores[row] * _diluted(len(out.mentions), weights.source_name_limit)
            for row, out in zip(reads, frontier.outgoing, strict=True)
        ]
        similarity = np.zeros(len(frontier.rows))
        if nearest > 0:
            similarity = np.clip(frontier.similarity / nearest, 0, 1)
        values = np.array(carried)[found.source] * found.weight
        share = weights.target_share
        values *= (1 - share + share * similarity)[found.target]
        raised = dict(scores)
        targets = frontier.rows[found.target].tolist()
        # Worst first, so that the best hop to a passage is the one that stays.
        for at in np.lexsort((found.key, values)).tolist():
            row, source, value = targets[at], reads[found.source[at]], float(values[at])
            if row != source and value > raised.get(row, 0.0):
                raised[row] = value
                hops[row] = Hop(row=source, key=int(found.key[at]))
        return raised

    def _frontier(self, reads: Sequence[int]) -> Frontier:
        """The passages that the names in the passages read lead to."""
        outgoing = self._graph.outgoing(reads)
        about = self._graph.about(self._unknown(out.candidates for out in outgoing))
        names = self._unknown(
            chain.from_iterable((out.mentions, subjects_of(out)) for out in outgoing)
        )
        shared = self._graph.mentioning(names, self._weights.common_name_limit)
        keys, places = np.unique(about.keys, return_inverse=True)
        rows = np.unique(np.concatenate((about.rows, shared.rows)))
        residuals = _residuals(self._query.vector, self._vectors(np.array(reads, dtype=np.int64)))
        vectors = self._vectors(rows)
        return Frontier(
            rows=rows,
            similarity=_cosines(self._query.vector[None], vectors)[0],
            residual_similarity=_cosines(residuals, vectors),
            about=about,
            mention_counts=self._graph.counts(keys.tolist())[places],
            shared=shared,
            outgoing=outgoing,
        )

    def _unknown(self, keys: Iterable[NDArray[np.int64]]) -> list[int]:
        """The distinct keys that the question does not name, ascending."""
        return sorted({key for some in keys for key in some.tolist()} - self._known)

    def _similarity(self, rows: Iterable[int]) -> dict[int, float]:
        """The cosine of each row to the question."""
        ordered = np.array(sorted(rows), dtype=np.int64)
        cosines = _cosines(self._query.vector[None], self._vectors(ordered))[0]
        return dict(zip(ordered.tolist(), cosines.tolist(), strict=True))

    def _focus(self, rows: Rows) -> NDArray[np.float64]:
        """(rows,): weight of a mention in each row, 0..1; low in a passage of very many names."""
        counts = self._graph.names(rows.tolist())
        return np.minimum(1.0, self._weights.target_name_limit / np.maximum(1, counts))


def _diluted(names: int, limit: int) -> float:
    """Weight of each of the `names` names of a passage, 0..1."""
    return min(1.0, math.sqrt(limit / max(1, names)))


def _residuals(vector: NDArray[np.float32], read: NDArray[np.float32]) -> Reals:
    """(passages read, dimension): the question's direction orthogonal to each passage, unit."""
    question, passages = vector.astype(np.float64), read.astype(np.float64)
    residuals = question - (passages @ question)[:, None] * passages
    unit: Reals = residuals / np.maximum(np.linalg.norm(residuals, axis=1, keepdims=True), 1e-6)
    return unit


def _cosines(some: NDArray[np.floating], others: NDArray[np.float32]) -> Reals:
    """(len(some), len(others)): cosines of unit vectors, rounded to six digits.

    Rounded, since a product's last digits depend on where rows lie.
    """
    products = some.astype(np.float64) @ others.astype(np.float64).T
    rounded: Reals = np.round(products, _DIGITS)
    return rounded


def _rows_about(found: AboutLinks) -> dict[int, list[tuple[int, float]]]:
    """By key: the rows that are about it, each with its strength."""
    about: dict[int, list[tuple[int, float]]] = {}
    for key, row, strength in zip(
        found.keys.tolist(), found.rows.tolist(), found.strengths.tolist(), strict=True
    ):
        about.setdefault(key, []).append((row, strength))
    return about


def _groups(found: MentionLinks) -> dict[int, Rows]:
    """By key: the rows that mention it."""
    if not len(found.keys):
        return {}
    starts = np.flatnonzero(np.diff(found.keys, prepend=found.keys[0] - 1))
    groups = np.split(found.rows, starts[1:])
    return dict(zip(found.keys[starts].tolist(), groups, strict=True))


def _with_ranks(
    found: Sequence[tuple[int, float]], similarity: Mapping[int, float]
) -> Iterator[tuple[int, float, int]]:
    """Passages about one name: row, strength, and rank from 0 by similarity times strength."""
    scores = [similarity[row] * strength for row, strength in found]
    descending = sorted(-score for score in scores)
    for (row, strength), score in zip(found, scores, strict=True):
        yield row, strength, int(np.searchsorted(descending, -score, side="left"))


def _best_rows(scores: Mapping[int, float], count: int) -> list[int]:
    """The `count` best rows and all that tie with the last of them."""
    order = sorted(scores, key=lambda row: -scores[row])
    if len(order) <= count:
        return order
    last = scores[order[count - 1]]
    return [row for row in order if scores[row] >= last]


def _ranked(scores: Mapping[int, float]) -> Candidates:
    rows = np.fromiter(scores.keys(), dtype=np.int64, count=len(scores))
    values = np.fromiter(scores.values(), dtype=np.float32, count=len(scores))
    order = np.lexsort((rows, -values))
    return Candidates(rows=rows[order], scores=values[order])
