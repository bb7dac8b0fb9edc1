"""Weights of the candidate hops of one round: from passages read, over names, to other passages.

Vectorised: a few NumPy operations for the thousands of candidates of a round.
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
_SUBJECT_STRENGTH = 0.95
"""The strength (0..1) from which on an "is about" link makes a name a subject of its passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopWeights:
    """The weights and limits of guided hops; the passage nearest to the question scores 1."""

    title_bonus: float = 0.7
    """Added to a passage whose title the question names; less for a title of one word."""
    mention_bonus: float = 0.5
    """Added to a passage that mentions a rare name of the question."""
    rare_name_limit: int = 12
    """Most passages that may mention a rare name."""
    decay: float = 0.97
    """The share of the source's score that a hop carries on."""
    target_share: float = 0.5
    """The share of a hop's value that depends on the target's similarity to the question."""
    partial_title: float = 0.85
    """Weight of a hop to a title that is only a part of the name that the source mentions."""
    popularity_penalty: float = 0.15
    """How fast the weight of a title falls with the number of passages that mention it."""
    rare_name_weight: float = 0.7
    """Weight of a rare name that two passages mention; a title mentioned by one has 1."""
    residual_weight: float = 1.1
    """Weight of any shared name where the target is similar to the residual of the question."""
    residual_cosine: float = 0.5
    """The cosine to the residual from which on a target counts in full."""
    common_name_limit: int = 100
    """Most passages that may mention a name that is followed at all."""
    rounds: int = 1
    reads: int = 10
    """Passages whose names are followed, each round."""
    targets_per_name: int = 2
    """Passages that one shared name leads to, for each passage read."""
    source_name_limit: int = 32
    """Names of a source passage above which each of them counts less."""
    target_name_limit: int = 24
    """Names of a target passage above which each counts less: a list of all names says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HopCandidates:
    """Candidate hops from passages read to other passages: parallel arrays, one hop an entry."""

    source: Whole
    """Indices of passages read."""
    target: Whole
    """Indices into `Frontier.rows`."""
    key: Whole
    """Keys of the names that are followed."""
    weight: Reals
    """The share of the source's score that the target could get, 0..1."""

    def __add__(self, other: HopCandidates) -> HopCandidates:
        return HopCandidates(
            source=np.concatenate((self.source, other.source)),
            target=np.concatenate((self.target, other.target)),
            key=np.concatenate((self.key, other.key)),
            weight=np.concatenate((self.weight, other.weight)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The passages one hop away from those read in a round, and the links that lead to them.

    The residual of a passage read is the question's vector without the passage's own direction:
    the part of the question that the passage leaves open.
    """

    rows: Rows
    """The passages one hop away, ascending."""
    similarity: Reals
    """(rows,): cosine of each row to the question."""
    residual_similarity: Reals
    """(passages read, rows): cosine of each row to the residual of each passage read."""
    about: AboutLinks
    """Links to rows that are about a name."""
    mention_counts: Whole
    """For each entry of `about`: how many passages mention its key."""
    shared: MentionLinks
    """Links to rows that mention a name."""
    outgoing: Sequence[PassageLinks]
    """The links of each passage read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SourceNames:
    """Names in the passages read: parallel arrays, one occurrence an entry."""

    source: Whole
    """Indices of passages read."""
    key: Whole

    @property
    def pair(self) -> Whole:
        """A hash of passage and key; two pairs collide with probability 2^-64."""
        return self.key ^ (self.source * _ODD)

    def among(self, others: _SourceNames) -> NDArray[np.bool_]:
        """Mask of the entries that `others` has too."""
        return np.isin(self.pair, others.pair)

    def only(self, some: NDArray[np.bool_]) -> _SourceNames:
        """The entries of a mask."""
        return _SourceNames(source=self.source[some], key=self.key[some])


def mention_hops(frontier: Frontier, weights: HopWeights) -> HopCandidates:
    """Hops to passages that mention a name of the source too.

    A name counts if it is rare, or if the target is similar to the residual of the source.
    """
    shared = frontier.shared
    abouts = _source_names([out.abouts for out in frontier.outgoing])
    mentions = _source_names([out.mentions for out in frontier.outgoing])
    subjects = _source_names([subjects_of(out) for out in frontier.outgoing])
    subjects = subjects.only(~subjects.among(mentions))
    entry, joined = _join(shared.keys, _concatenated(mentions, subjects))
    key, source = joined.key, joined.source
    target = np.searchsorted(frontier.rows, shared.rows[entry])
    similarity = frontier.residual_similarity[source, target]
    _, pairs, counts = np.unique(joined.pair, return_inverse=True, return_counts=True)
    count = counts[pairs].astype(np.float64)
    chosen = _count_better(pairs, similarity) < weights.targets_per_name
    weight = (
        weights.residual_weight
        * np.clip(similarity / weights.residual_cosine, 0, 1)
        / (1 + 0.1 * np.log(count))
    )
    weight = np.where(chosen, np.minimum(1, weight), 0.0)
    rare = (count > 1) & (count <= weights.rare_name_limit) & ~joined.among(abouts)
    rare &= ~np.isin(key, frontier.about.keys)
    weight[rare] = np.maximum(
        weight[rare], weights.rare_name_weight / (1 + np.log(count[rare] - 1))
    )
    some = weight > 0
    return HopCandidates(
        source=source[some], target=target[some], key=key[some], weight=weight[some]
    )


def title_hops(frontier: Frontier, weights: HopWeights) -> HopCandidates:
    """Hops to passages that are about a name of the source; widely mentioned names weigh less."""
    about = frontier.about
    names = _source_names([out.candidates for out in frontier.outgoing])
    subjects = names.among(_source_names([out.abouts for out in frontier.outgoing]))
    entry, joined = _join(about.keys, names.only(~subjects))
    target = np.searchsorted(frontier.rows, about.rows)
    # Of several passages about one name the most similar counts most.
    rank = _count_better(about.keys, frontier.similarity[target] * about.strengths)
    weight = about.strengths / (1 + 0.3 * rank)
    weight = weight / (1 + weights.popularity_penalty * np.log1p(frontier.mention_counts))
    whole = joined.among(_source_names([out.mentions for out in frontier.outgoing]))
    return HopCandidates(
        source=joined.source,
        target=target[entry],
        key=joined.key,
        weight=weight[entry] * np.where(whole, 1.0, weights.partial_title),
    )


def subjects_of(out: PassageLinks) -> Whole:
    """Keys of the subjects of a passage: the names that it is about with strength 0.95 or more."""
    subjects: Whole = out.abouts[out.strengths >= _SUBJECT_STRENGTH - 1e-6]
    return subjects


def _source_names(keys: Sequence[Whole]) -> _SourceNames:
    """Flattens the keys of each passage read, in order."""
    lengths = [len(some) for some in keys]
    return _SourceNames(
        source=np.repeat(np.arange(len(keys), dtype=np.int64), lengths), key=np.concatenate(keys)
    )


def _concatenated(one: _SourceNames, other: _SourceNames) -> _SourceNames:
    return _SourceNames(
        source=np.concatenate((one.source, other.source)),
        key=np.concatenate((one.key, other.key)),
    )


def _join(keys: Whole, names: _SourceNames) -> tuple[Whole, _SourceNames]:
    """Joins source names with the ascending `keys`.

    Returns:
        Indices into `keys`, and for each the name that matches it.
    """
    first = np.searchsorted(keys, names.key, side="left")
    counts = np.searchsorted(keys, names.key, side="right") - first
    joined = _SourceNames(source=np.repeat(names.source, counts), key=np.repeat(names.key, counts))
    offsets = np.arange(len(joined.key)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(first, counts) + offsets, joined


def _count_better(group: Whole, score: Reals) -> Whole:
    """(entries,): how many entries of the same group score more."""
    order = np.lexsort((-score, group))
    groups, scores = group[order], score[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (groups[1:] != groups[:-1]) | (scores[1:] != scores[:-1])
    runs = np.flatnonzero(new)
    better = np.empty(len(order), dtype=np.int64)
    better[order] = runs[np.cumsum(new) - 1] - np.searchsorted(groups, groups)
    return better
