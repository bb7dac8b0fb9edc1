"""Guided hops: from the best passages along the names in them, toward what is still asked.

Multi-hop recall without a model. A passage that a question is near to names the things that the
rest of the question is about; whoever those names lead to is judged by how near it comes to what
the first passage leaves open. After the guided hops of the shared data set's baseline and the
passage-entity graph of HippoRAG 2 (arXiv 2502.14802), whose personalised PageRank was measured in
their place (`evals.bench.graph`). The weights are the best of the three training sets, with and
without titles; none of them is sharp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.asked import Asked
from hoptrail.rag.links import Abouts, Mentions, Outgoing
from hoptrail.rag.scope import Rows
from hoptrail.rag.types import Candidates

Numbers = NDArray[np.float32]

Vectors = Callable[[Rows], Numbers]
"""The rows' vectors, (len(rows), dimension) float32, L2-normalised."""

_ODD = np.int64(0x1E3779B97F4A7C15)
_SURE = 0.95
"""How surely a passage must be about a name for the name to stand for it."""


class Graph(Protocol):
    """The part of a passage graph that a search may see; entities are keys, passages rows."""

    def outgoing(self, rows: Sequence[int]) -> tuple[Outgoing, ...]:
        """Where each of the rows points to."""

    def about(self, keys: Sequence[int]) -> Abouts:
        """The rows that are about any of the keys."""

    def mentioning(self, keys: Sequence[int], limit: int) -> Mentions:
        """The rows that mention any of the keys; keys with more rows than that are left out."""

    def counts(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """How many rows mention each of the keys."""

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """How many names each of the rows mentions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """The weights of guided hops; a standing is 1 for the passage nearest to the question."""

    named: float = 0.7
    """Added to a passage whose title the question names; less for a title of one word."""
    spoken: float = 0.5
    """Added to a passage that mentions a rare name of the question."""
    rare: int = 8
    """Most passages that may share a rare name."""
    carry: float = 0.97
    """What a hop keeps of the standing it starts from."""
    own: float = 0.3
    """The share of that which depends on how near the target is to the question."""
    whole: float = 0.85
    """Worth of a title that is only a part of the name that mentions it."""
    degree: float = 0.3
    """How much less a title is worth that many passages mention."""
    shared: float = 0.6
    """Worth of a rare name that two passages mention, beside a title."""
    open: float = 1.2
    """Worth of any shared name where the target is near to what the question leaves open."""
    near: float = 0.5
    """The cosine to what is left open that counts as nearest."""
    common: int = 300
    """Most passages that may share a name that is followed at all."""
    rounds: int = 2
    reads: int = 10
    """Passages whose names are followed, each round."""
    siblings: int = 5
    """Passages that one name leads to by mention."""
    names: int = 16
    """Names of a passage beyond which each is worth less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """The last hop to a passage."""

    row: int
    """Where it was read."""
    key: int
    """The name that was followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Where guided hops arrived."""

    candidates: Candidates
    roads: Mapping[int, Road]
    """Of the rows that stand higher by a hop than by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is looked for."""

    asked: Asked
    vector: Numbers
    """(dimension,) float32, L2-normalised."""
    nearest: float
    """The cosine of the passage nearest to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Links:
    """Ways from passages that were read to others, one an entry."""

    source: NDArray[np.int64]
    """Which of the passages read."""
    target: NDArray[np.int64]
    """Which of the rows within reach."""
    key: NDArray[np.int64]
    worth: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """What the names in a round's passages lead to."""

    rows: Rows
    """Ascending."""
    near: NDArray[np.float64]
    """(rows,): each one's cosine to the question."""
    still: Numbers
    """(passages read, rows): each one's cosine to what a passage read leaves open."""
    titled: Abouts
    shared: Mentions
    outgoing: Sequence[Outgoing]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pointers:
    """Keys that passages read have, one an entry."""

    source: NDArray[np.int64]
    """Which of the passages."""
    key: NDArray[np.int64]

    @property
    def pair(self) -> NDArray[np.int64]:
        """A number for passage and key together; two are equal by chance once in 2^64."""
        return self.key ^ (self.source * _ODD)

    def among(self, others: _Pointers) -> NDArray[np.bool_]:
        """Which of these the others have too."""
        return np.isin(self.pair, others.pair)

    def only(self, some: NDArray[np.bool_]) -> _Pointers:
        """The chosen ones."""
        return _Pointers(source=self.source[some], key=self.key[some])


def guided(
    query: Query, own: Candidates, graph: Graph, vectors: Vectors, guide: Guide = Guide()
) -> Walk:
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

    def __init__(self, query: Query, graph: Graph, vectors: Vectors, guide: Guide) -> None:
        self._query = query
        self._graph = graph
        self._vectors = vectors
        self._guide = guide
        # What the question itself names is no news where a passage names it too.
        self._known: set[int] = set()

    def walk(self, own: Candidates) -> Walk:
        """From the passages' own standing to that by the best way to them."""
        top = float(own.scores[0]) if len(own.scores) and own.scores[0] > 0 else 1.0
        scores = (own.scores.astype(np.float64) / top).tolist()
        standing = self._named(dict(zip(own.rows.tolist(), scores, strict=True)))
        roads: dict[int, Road] = {}
        read: set[int] = set()
        for _ in range(self._guide.rounds):
            reads = [row for row in _first(standing, self._guide.reads) if row not in read]
            if reads:
                read.update(reads)
                standing = self._lifted(reads, standing, roads)
        return Walk(candidates=_ranked(standing), roads=roads)

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
        self, reads: Sequence[int], standing: Mapping[int, float], roads: dict[int, Road]
    ) -> dict[int, float]:
        """The standings after one round of hops; notes the roads to what they lift."""
        guide, nearest = self._guide, self._query.nearest
        reach = self._reach(reads)
        links = _joined(_by_title(reach, self._degrees(reach), guide), self._by_mention(reach))
        kept = [
            guide.carry * standing[row] * _diluted(len(out.mentions), guide.names)
            for row, out in zip(reads, reach.outgoing, strict=True)
        ]
        near = np.clip(reach.near / nearest, 0, 1) if nearest > 0 else np.zeros(len(reach.rows))
        values = np.array(kept)[links.source] * links.worth
        values *= (1 - guide.own + guide.own * near)[links.target]
        lifted = dict(standing)
        targets = reach.rows[links.target].tolist()
        # Worst first, so that the best way to a passage is the one that stays.
        for at in np.lexsort((links.key, values)).tolist():
            row, source, value = targets[at], reads[links.source[at]], float(values[at])
            if row != source and value > lifted.get(row, 0.0):
                lifted[row] = value
                roads[row] = Road(row=source, key=int(links.key[at]))
        return lifted

    def _reach(self, reads: Sequence[int]) -> _Reach:
        """All that the names in the passages read lead to."""
        outgoing = self._graph.outgoing(reads)
        titled = self._graph.about(self._new(out.candidates for out in outgoing))
        spoken = self._new(chain.from_iterable((out.mentions, _subjects(out)) for out in outgoing))
        shared = self._graph.mentioning(spoken, self._guide.common)
        rows = np.unique(np.concatenate((titled.rows, shared.rows)))
        vectors = self._vectors(rows)
        left = _left_open(self._query.vector, self._vectors(np.array(reads, dtype=np.int64)))
        return _Reach(
            rows=rows,
            near=(vectors @ self._query.vector).astype(np.float64),
            still=left @ vectors.T,
            titled=titled,
            shared=shared,
            outgoing=outgoing,
        )

    def _degrees(self, reach: _Reach) -> NDArray[np.float64]:
        """For each entry of `titled`: how much less its title is worth for being mentioned."""
        keys, places = np.unique(reach.titled.keys, return_inverse=True)
        counts = self._graph.counts(keys.tolist())[places]
        discounts: NDArray[np.float64] = 1 / (1 + self._guide.degree * np.log1p(counts))
        return discounts

    def _by_mention(self, reach: _Reach) -> _Links:
        """To passages that share a name: rare, or near to what is left open."""
        guide, shared = self._guide, reach.shared
        abouts = _pointers([out.abouts for out in reach.outgoing])
        mentions = _pointers([out.mentions for out in reach.outgoing])
        subjects = _pointers([_subjects(out) for out in reach.outgoing])
        subjects = subjects.only(~subjects.among(mentions))
        entry, way = _matched(shared.keys, _both(mentions, subjects))
        key, source = way.key, way.source
        target = np.searchsorted(reach.rows, shared.rows[entry])
        still = reach.still[source, target]
        _, pairs, counts = np.unique(way.pair, return_inverse=True, return_counts=True)
        count = counts[pairs].astype(np.float64)
        chosen = still >= _nth_best(still, pairs, counts, guide.siblings)
        worth = guide.open * np.clip(still / guide.near, 0, 1) / (1 + 0.1 * np.log(count))
        worth = np.where(chosen, np.minimum(1, worth), 0.0)
        rare = (count > 1) & (count <= guide.rare) & ~way.among(abouts)
        rare &= ~np.isin(key, reach.titled.keys)
        worth[rare] = np.maximum(worth[rare], guide.shared / (1 + np.log(count[rare] - 1)))
        some = worth > 0
        source, target, key, worth = source[some], target[some], key[some], worth[some]
        arrived, places = np.unique(target, return_inverse=True)
        told = self._told(reach.rows[arrived])
        return _Links(source=source, target=target, key=key, worth=worth * told[places])

    def _new(self, keys: Iterable[NDArray[np.int64]]) -> list[int]:
        """All of the keys that the question does not name."""
        return sorted({key for some in keys for key in some.tolist()} - self._known)

    def _near(self, rows: Iterable[int]) -> dict[int, float]:
        """The rows' cosines to the question."""
        ordered = np.array(sorted(rows), dtype=np.int64)
        cosines = self._vectors(ordered) @ self._query.vector
        return dict(zip(ordered.tolist(), cosines.tolist(), strict=True))

    def _told(self, rows: Rows) -> NDArray[np.float64]:
        """What a mention in each of the rows is worth: a list of all names says nothing."""
        counts = self._graph.names(rows.tolist())
        return np.minimum(1.0, 1.5 * self._guide.names / np.maximum(1, counts))


def _diluted(names: int, most: int) -> float:
    """What each name of a passage is worth that has so many."""
    return min(1.0, math.sqrt(most / max(1, names)))


def _subjects(out: Outgoing) -> NDArray[np.int64]:
    """What a passage is surely about."""
    subjects: NDArray[np.int64] = out.abouts[out.strengths >= _SURE - 1e-6]
    return subjects


def _pointers(keys: Sequence[NDArray[np.int64]]) -> _Pointers:
    """The keys of the first passage read, the second, and so on."""
    lengths = [len(some) for some in keys]
    return _Pointers(
        source=np.repeat(np.arange(len(keys), dtype=np.int64), lengths), key=np.concatenate(keys)
    )


def _both(one: _Pointers, other: _Pointers) -> _Pointers:
    return _Pointers(
        source=np.concatenate((one.source, other.source)),
        key=np.concatenate((one.key, other.key)),
    )


def _by_title(reach: _Reach, degrees: NDArray[np.float64], guide: Guide) -> _Links:
    """To passages about what one names: the fewer mention that, the more it says."""
    titled = reach.titled
    pointing = _pointers([out.candidates for out in reach.outgoing])
    itself = pointing.among(_pointers([out.abouts for out in reach.outgoing]))
    entry, way = _matched(titled.keys, pointing.only(~itself))
    target = np.searchsorted(reach.rows, titled.rows)
    # Of several passages about one thing the nearest counts most.
    score = reach.near[target] * titled.strengths
    order = np.lexsort((-score, titled.keys))
    starts = np.searchsorted(titled.keys[order], titled.keys[order])
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) - starts
    worth = titled.strengths * degrees / (1 + 0.3 * place)
    whole = way.among(_pointers([out.mentions for out in reach.outgoing]))
    return _Links(
        source=way.source,
        target=target[entry],
        key=way.key,
        worth=worth[entry] * np.where(whole, 1.0, guide.whole),
    )


def _matched(keys: NDArray[np.int64], pointing: _Pointers) -> tuple[NDArray[np.int64], _Pointers]:
    """Every entry of the ascending `keys` that is pointed to, and by what, side by side."""
    first = np.searchsorted(keys, pointing.key, side="left")
    counts = np.searchsorted(keys, pointing.key, side="right") - first
    way = _Pointers(source=np.repeat(pointing.source, counts), key=np.repeat(pointing.key, counts))
    offsets = np.arange(len(way.key)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + offsets, way


def _nth_best(
    values: Numbers, group: NDArray[np.int64], counts: NDArray[np.int64], n: int
) -> Numbers:
    """For each entry: the n-th largest value of its group, or the smallest of a smaller one."""
    order = np.lexsort((-values, group))
    starts = np.cumsum(counts) - counts
    best: Numbers = values[order[starts + np.minimum(n, counts) - 1]][group]
    return best


def _joined(one: _Links, other: _Links) -> _Links:
    return _Links(
        source=np.concatenate((one.source, other.source)),
        target=np.concatenate((one.target, other.target)),
        key=np.concatenate((one.key, other.key)),
        worth=np.concatenate((one.worth, other.worth)),
    )


def _left_open(vector: Numbers, read: Numbers) -> Numbers:
    """What each passage read leaves open: the question's direction without the passage's own."""
    left = vector - (read @ vector)[:, None] * read
    unit: Numbers = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-6)
    return unit


def _titled(found: Abouts) -> dict[int, list[tuple[int, float]]]:
    """The rows that are about each key."""
    titled: dict[int, list[tuple[int, float]]] = {}
    for key, row, sure in zip(
        found.keys.tolist(), found.rows.tolist(), found.strengths.tolist(), strict=True
    ):
        titled.setdefault(key, []).append((row, sure))
    return titled


def _groups(found: Mentions) -> dict[int, Rows]:
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
