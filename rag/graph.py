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
class _Link:
    """A way from a passage that was read to another."""

    target: int
    key: int
    worth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Targets:
    """What a round may arrive at."""

    titled: Mapping[int, list[tuple[int, float]]]
    """By key: the rows that are about it, and how surely."""
    counts: Mapping[int, int]
    """By key of `titled`: the rows that mention it."""
    shared: Mapping[int, Rows]
    """By key: the rows that mention it, unless they are too many."""
    near: Mapping[int, float]
    """By row: its cosine to the question."""
    places: Mapping[int, int]
    """By row: where it stands in `still`."""
    still: Numbers
    """(passages read, rows): each row's cosine to what a passage read leaves open."""


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
            if not reads:
                break
            read.update(reads)
            lifted = dict(standing)
            for source, link, value in self._hops(reads, standing):
                if value > lifted.get(link.target, 0.0):
                    lifted[link.target] = value
                    roads[link.target] = Road(row=source, key=link.key)
            standing = lifted
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

    def _hops(
        self, reads: Sequence[int], standing: Mapping[int, float]
    ) -> Iterator[tuple[int, _Link, float]]:
        """Every way on from the passages read, with the standing that it gives its target."""
        guide, nearest = self._guide, self._query.nearest
        outgoing = self._graph.outgoing(reads)
        targets = self._targets(reads, outgoing)
        for at, (source, out) in enumerate(zip(reads, outgoing, strict=True)):
            kept = guide.carry * standing[source] * _diluted(len(out.mentions), guide.names)
            links = (*self._by_title(out, targets), *self._by_mention(out, targets, at))
            for link in links:
                if link.target != source:
                    near = targets.near[link.target] / nearest if nearest > 0 else 0.0
                    share = 1 - guide.own + guide.own * max(0.0, min(1.0, near))
                    yield source, link, kept * link.worth * share

    def _targets(self, reads: Sequence[int], outgoing: Sequence[Outgoing]) -> _Targets:
        """All that names in the passages read lead to."""
        titled = _titled(self._graph.about(self._new(out.candidates for out in outgoing)))
        spoken = self._new(keys for out in outgoing for keys in (out.mentions, _subjects(out)))
        shared = _groups(self._graph.mentioning(spoken, self._guide.common))
        rows = {row for found in titled.values() for row, _ in found}
        rows.update(row for found in shared.values() for row in found.tolist())
        ordered = np.array(sorted(rows), dtype=np.int64)
        vectors, vector = self._vectors(ordered), self._query.vector
        read = self._vectors(np.array(reads, dtype=np.int64))
        keys = list(titled)
        return _Targets(
            titled=titled,
            counts=dict(zip(keys, self._graph.counts(keys).tolist(), strict=True)),
            shared=shared,
            near=dict(zip(ordered.tolist(), (vectors @ vector).tolist(), strict=True)),
            places={row: at for at, row in enumerate(ordered.tolist())},
            still=_left_open(vector, read) @ vectors.T,
        )

    def _by_title(self, out: Outgoing, targets: _Targets) -> Iterator[_Link]:
        """To passages about what this one names: the fewer point there, the more it says."""
        whole, itself = set(out.mentions.tolist()), set(out.abouts.tolist())
        for key in out.candidates.tolist():
            if key in itself or key not in targets.titled:
                continue
            worth = 1.0 if key in whole else self._guide.whole
            worth /= 1 + self._guide.degree * math.log(1 + targets.counts[key])
            for row, sure, place in _siblings(targets.titled[key], targets.near):
                yield _Link(target=row, key=key, worth=worth * sure / (1 + 0.3 * place))

    def _by_mention(self, out: Outgoing, targets: _Targets, at: int) -> Iterator[_Link]:
        """To passages that share a name: rare, or near to what is left open."""
        guide, itself = self._guide, set(out.abouts.tolist())
        for key in dict.fromkeys((*out.mentions.tolist(), *_subjects(out).tolist())):
            rows = targets.shared.get(key)
            if rows is None:
                continue
            count, rare = len(rows), 0.0
            if 1 < count <= guide.rare and key not in targets.titled and key not in itself:
                rare = guide.shared / (1 + math.log(count - 1))
            still = targets.still[at, [targets.places[row] for row in rows.tolist()]]
            chosen = still >= np.sort(still)[-min(guide.siblings, count)]
            worths = guide.open * np.clip(still / guide.near, 0, 1) / (1 + 0.1 * math.log(count))
            worths = np.maximum(rare, np.where(chosen, np.minimum(1, worths), 0))
            some = worths > 0
            worths = worths[some] * self._told(rows[some])
            for row, worth in zip(rows[some].tolist(), worths.tolist(), strict=True):
                yield _Link(target=row, key=key, worth=worth)

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
