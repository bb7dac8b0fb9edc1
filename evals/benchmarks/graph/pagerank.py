"""Personalised PageRank over passages and the names they share, as in HippoRAG 2.

HippoRAG 2 (arXiv 2502.14802, section 3.4) ranks passages by the walk that starts anew at its seeds
with probability `1 - damping` and else goes to a neighbour:

    x = (1 - damping) s + damping x P,

where a step of P goes from a passage to one of its names and on to a passage that has it. The walk
is followed by forward push (Andersen, Chung and Lang 2006, "Local graph partitioning using PageRank
vectors", section 3), many passages at once: a passage with residual r keeps `(1 - damping) r` and
hands on the rest. Only the passages with the greatest residuals are ever asked for their links, so
the cost does not grow with the corpus; what is left in residuals bounds the error.

Guided hops (`hoptrail.rag.passage_graph.guided_hops`), the product's own search, rank better at the
same cost; this is the baseline that they are measured against
(`python -m hoptrail.evals.benchmarks.graph DATA --ablation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.passage_graph.hop_scoring import Reals, Whole, subjects_of
from hoptrail.rag.store.graph_index.reader import PassageGraph, PassageLinks
from hoptrail.rag.types import Candidates


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRankSettings:
    """Damping, weights and cut-offs of the walk."""

    damping: float = 0.5
    """Chance to go on instead of starting anew, in [0, 1); HippoRAG 2's value."""
    titled: float = 4.0
    """Weight of a name in what is about it, where a mention has 1."""
    common: int = 100
    """Passages that have a name, from which on it leads nowhere."""
    rounds: int = 1
    """Two and three rank no better on the training sets."""
    reads: int = 10
    """Passages whose links are followed, each round."""
    least: float = 1e-4
    """Residual below which a passage hands nothing on."""

    def __post_init__(self) -> None:
        """Refuses what has no limit or no meaning."""
        if not 0 <= self.damping < 1:
            raise SettingsError(
                f"The damping of PageRank must lie in [0, 1), not {self.damping!r}."
            )
        if not (self.titled > 0 and self.common >= 2 and self.rounds >= 0 and self.reads >= 1):
            raise SettingsError(
                "PageRank needs titled > 0, common >= 2, rounds >= 0 and reads >= 1."
            )


DEFAULT = PageRankSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edges:
    """Weighted edges from one side to the other, one an entry."""

    source: Whole
    target: Whole
    weight: Reals


def pagerank(
    seeds: Candidates, graph: PassageGraph, settings: PageRankSettings = DEFAULT
) -> Candidates:
    """Ranks passages by their probability in a random walk that restarts at the seeds.

    Args:
        seeds: passages and how much of the start each gets: scores >= 0, their sum above 0.
        graph: the links.
        settings: how far the walk is followed.

    Returns:
        Passages with their probability, best first. The sum is 1: a residual counts for the
        passage that holds it.
    """
    total = float(seeds.scores.sum(dtype=np.float64))
    if not total > 0:
        return Candidates(rows=seeds.rows[:0], scores=seeds.scores[:0])
    kept: dict[int, float] = {}
    shares = (seeds.scores.astype(np.float64) / total).tolist()
    left = dict(zip(seeds.rows.tolist(), shares, strict=True))
    for _ in range(settings.rounds):
        reads = _greatest(left, settings)
        if not reads:
            break
        _push(reads, kept, left, graph, settings)
    for row, residual in left.items():
        kept[row] = kept.get(row, 0.0) + residual
    return _ranked(kept)


def _greatest(left: dict[int, float], settings: PageRankSettings) -> list[int]:
    """The rows with the greatest residuals, with all that tie with the last of them."""
    some = sorted((row for row in left if left[row] > settings.least), key=lambda row: -left[row])
    if len(some) <= settings.reads:
        return some
    last = left[some[settings.reads - 1]]
    return [row for row in some if left[row] >= last]


def _push(
    reads: Sequence[int],
    kept: dict[int, float],
    left: dict[int, float],
    graph: PassageGraph,
    settings: PageRankSettings,
) -> None:
    """Every row read keeps its share of its residual and hands on the rest."""
    out, back = _edges(reads, graph, settings)
    residuals = np.array([left.pop(row) for row in reads])
    ways = np.bincount(out.source, out.weight, minlength=len(reads))
    # The walk cannot leave a passage without links: it starts anew there until it has all.
    stays = np.where(ways > 0, 1 - settings.damping, 1.0)
    for row, value in zip(reads, (stays * residuals).tolist(), strict=True):
        kept[row] = kept.get(row, 0.0) + value
    handed = (1 - stays) * residuals / np.where(ways > 0, ways, 1.0)
    keys, names = np.unique(back.source, return_inverse=True)
    sums = np.bincount(names, back.weight, minlength=len(keys))
    flow = handed[out.source] * out.weight
    arrived = np.bincount(np.searchsorted(keys, out.target), flow, minlength=len(keys))
    rows, places = np.unique(back.target, return_inverse=True)
    gained = np.bincount(places, (arrived / sums)[names] * back.weight, minlength=len(rows))
    for row, value in zip(rows.tolist(), gained.tolist(), strict=True):
        if value > 0:
            left[row] = left.get(row, 0.0) + value


def _edges(
    reads: Sequence[int], graph: PassageGraph, settings: PageRankSettings
) -> tuple[_Edges, _Edges]:
    """From the rows read (by place) to names, and from those names to all rows that have them.

    A name that no other passage has leads nowhere, nor does one that too many have.
    """
    outgoing = graph.outgoing(reads)
    keys = np.unique(np.concatenate([_all(out) for out in outgoing]))
    titled = graph.about(keys.tolist())
    shared = graph.mentioning(keys.tolist(), settings.common)
    back = _heaviest(
        np.concatenate((titled.keys, shared.keys)),
        np.concatenate((titled.rows, shared.rows)),
        np.concatenate((settings.titled * titled.strengths, np.ones(len(shared.keys)))),
    )
    names, first, counts = np.unique(back.source, return_index=True, return_counts=True)
    alone = np.where(counts == 1, back.target[first], -1)
    mentions = graph.counts(names.tolist())
    passing = (mentions <= settings.common) & (counts <= settings.common)
    names, counts, alone = names[passing], counts[passing], alone[passing]
    rarity = np.log1p(settings.common / counts)
    every = _out(outgoing, settings)
    out = _some(every, np.isin(every.target, names))
    place = np.searchsorted(names, out.target)
    out = replace(out, weight=out.weight * rarity[place])
    away = alone[place] != np.array(reads, dtype=np.int64)[out.source]
    return _some(out, away), _some(back, np.isin(back.source, names))


def _all(out: PassageLinks) -> Whole:
    """Every name that a passage may lead to."""
    every: Whole = np.concatenate((subjects_of(out), out.mentions, out.candidates))
    return every


def _out(outgoing: Sequence[PassageLinks], settings: PageRankSettings) -> _Edges:
    """From each passage to its names, before anything is known of them."""
    parts = [(out, subjects_of(out), _all(out)) for out in outgoing]
    return _heaviest(
        np.concatenate([np.full(len(every), at) for at, (_, _, every) in enumerate(parts)]),
        np.concatenate([every for _, _, every in parts]),
        np.concatenate(
            [np.where(np.isin(every, own), settings.titled, 1.0) for _, own, every in parts]
        ),
    )


def _heaviest(source: Whole, target: Whole, weight: NDArray[np.floating]) -> _Edges:
    """Each edge once, with its greatest weight; ordered by source, then target."""
    weights = weight.astype(np.float64)
    order = np.lexsort((-weights, target, source))
    source, target, weights = source[order], target[order], weights[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
    return _Edges(source=source[first], target=target[first], weight=weights[first])


def _some(edges: _Edges, chosen: NDArray[np.bool_]) -> _Edges:
    return _Edges(
        source=edges.source[chosen], target=edges.target[chosen], weight=edges.weight[chosen]
    )


def _ranked(kept: dict[int, float]) -> Candidates:
    rows = np.fromiter(kept, dtype=np.int64, count=len(kept))
    scores = np.fromiter(kept.values(), dtype=np.float32, count=len(kept))
    order = np.lexsort((rows, -scores))
    return Candidates(rows=rows[order], scores=scores[order])
