"""The ways on from the passages a search has read: arrays in, arrays out.

All ways of one round are weighed together, a few array operations for some thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.graph_index.reader import AboutLinks, MentionLinks, PassageLinks
from hoptrail.rag.types import Rows

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

_ODD = np.int64(0x1E3779B97F4A7C15)
_SURE = 0.95
"""How surely a passage must be about a name for the name to stand for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopWeights:
    """The weights of guided hops; a standing is 1 for the passage nearest to the question."""

    named: float = 0.7
    """Added to a passage whose title the question names; less for a title of one word."""
    spoken: float = 0.5
    """Added to a passage that mentions a rare name of the question."""
    rare: int = 12
    """Most passages that may share a rare name."""
    carry: float = 0.97
    """What a hop keeps of the standing it starts from."""
    own: float = 0.5
    """The share of that which depends on how near the target is to the question."""
    whole: float = 0.85
    """Worth of a title that is only a part of the name that mentions it."""
    degree: float = 0.15
    """How much less a title is worth that many passages mention."""
    shared: float = 0.7
    """Worth of a rare name that two passages mention, beside a title."""
    open: float = 1.1
    """Worth of any shared name where the target is near to what the question leaves open."""
    near: float = 0.5
    """The cosine to what is left open that counts as nearest."""
    common: int = 100
    """Most passages that may share a name that is followed at all."""
    rounds: int = 1
    reads: int = 10
    """Passages whose names are followed, each round."""
    siblings: int = 2
    """Passages that one name leads to by mention."""
    names: int = 32
    """Names of a passage beyond which each leads on less."""
    told: int = 24
    """Names of a passage beyond which it is told less of each: a list of all names says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopCandidates:
    """Ways from passages that were read to others, one an entry."""

    source: Whole
    """Which of the passages read."""
    target: Whole
    """Which of the rows within reach."""
    key: Whole
    """The name that is followed."""
    worth: Reals
    """What share of the one's standing the other could have, 0..1."""

    def __add__(self, other: HopCandidates) -> HopCandidates:
        return HopCandidates(
            source=np.concatenate((self.source, other.source)),
            target=np.concatenate((self.target, other.target)),
            key=np.concatenate((self.key, other.key)),
            worth=np.concatenate((self.worth, other.worth)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """What the names in a round's passages lead to."""

    rows: Rows
    """Ascending."""
    near: Reals
    """(rows,): each one's cosine to the question."""
    still: Reals
    """(passages read, rows): each one's cosine to what a passage read leaves open."""
    titled: AboutLinks
    mentioned: Whole
    """For each entry of `titled`: how many rows mention its key."""
    shared: MentionLinks
    outgoing: Sequence[PassageLinks]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pointers:
    """Keys that passages read have, one an entry."""

    source: Whole
    """Which of the passages."""
    key: Whole

    @property
    def pair(self) -> Whole:
        """A number for passage and key together; two are equal by chance once in 2^64."""
        return self.key ^ (self.source * _ODD)

    def among(self, others: _Pointers) -> NDArray[np.bool_]:
        """Which of these the others have too."""
        return np.isin(self.pair, others.pair)

    def only(self, some: NDArray[np.bool_]) -> _Pointers:
        """The chosen ones."""
        return _Pointers(source=self.source[some], key=self.key[some])


def mention_hops(reach: Frontier, guide: HopWeights) -> HopCandidates:
    """To passages that share a name: rare, or near to what is left open."""
    shared = reach.shared
    abouts = _pointers([out.abouts for out in reach.outgoing])
    mentions = _pointers([out.mentions for out in reach.outgoing])
    subjects = _pointers([subjects_of(out) for out in reach.outgoing])
    subjects = subjects.only(~subjects.among(mentions))
    entry, way = _matched(shared.keys, _both(mentions, subjects))
    key, source = way.key, way.source
    target = np.searchsorted(reach.rows, shared.rows[entry])
    still = reach.still[source, target]
    _, pairs, counts = np.unique(way.pair, return_inverse=True, return_counts=True)
    count = counts[pairs].astype(np.float64)
    chosen = _better(pairs, still) < guide.siblings
    worth = guide.open * np.clip(still / guide.near, 0, 1) / (1 + 0.1 * np.log(count))
    worth = np.where(chosen, np.minimum(1, worth), 0.0)
    rare = (count > 1) & (count <= guide.rare) & ~way.among(abouts)
    rare &= ~np.isin(key, reach.titled.keys)
    worth[rare] = np.maximum(worth[rare], guide.shared / (1 + np.log(count[rare] - 1)))
    some = worth > 0
    return HopCandidates(source=source[some], target=target[some], key=key[some], worth=worth[some])


def title_hops(reach: Frontier, guide: HopWeights) -> HopCandidates:
    """To passages about what one names: the fewer mention that, the more it says."""
    titled = reach.titled
    pointing = _pointers([out.candidates for out in reach.outgoing])
    itself = pointing.among(_pointers([out.abouts for out in reach.outgoing]))
    entry, way = _matched(titled.keys, pointing.only(~itself))
    target = np.searchsorted(reach.rows, titled.rows)
    # Of several passages about one thing the nearest counts most.
    place = _better(titled.keys, reach.near[target] * titled.strengths)
    worth = titled.strengths / (1 + 0.3 * place)
    worth = worth / (1 + guide.degree * np.log1p(reach.mentioned))
    whole = way.among(_pointers([out.mentions for out in reach.outgoing]))
    return HopCandidates(
        source=way.source,
        target=target[entry],
        key=way.key,
        worth=worth[entry] * np.where(whole, 1.0, guide.whole),
    )


def subjects_of(out: PassageLinks) -> Whole:
    """What a passage is surely about."""
    subjects: Whole = out.abouts[out.strengths >= _SURE - 1e-6]
    return subjects


def _pointers(keys: Sequence[Whole]) -> _Pointers:
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


def _matched(keys: Whole, pointing: _Pointers) -> tuple[Whole, _Pointers]:
    """Every entry of the ascending `keys` that is pointed to, and by what, side by side."""
    first = np.searchsorted(keys, pointing.key, side="left")
    counts = np.searchsorted(keys, pointing.key, side="right") - first
    way = _Pointers(source=np.repeat(pointing.source, counts), key=np.repeat(pointing.key, counts))
    offsets = np.arange(len(way.key)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + offsets, way


def _better(group: Whole, score: Reals) -> Whole:
    """For each entry: how many of its group score more."""
    order = np.lexsort((-score, group))
    groups, scores = group[order], score[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    runs = np.flatnonzero(new)
    better = np.empty(len(order), dtype=np.int64)
    better[order] = runs[np.cumsum(new) - 1] - np.searchsorted(groups, groups)
    return better
