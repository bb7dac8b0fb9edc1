"""The floors of search of the tree, without any strategy and without a model.

The tree's leaves fused with hybrid search lose next to nothing against hybrid search alone; a tree
that grew leaf by leaf is as good as a fresh one; calibration by ridge is as good as the reference's
fit by gradient, and both are worth having.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from hoptrail.evals.benchmarks.tree.calibration_fit import fits
from hoptrail.evals.benchmarks.tree.ground_truth import world_of
from hoptrail.evals.benchmarks.tree.incremental import IncrementalTree, growth
from hoptrail.evals.benchmarks.tree.local_search import FUSED, local
from hoptrail.evals.regression.threshold import Threshold
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.retrieval.retriever import Retriever

SETS = ("2wiki_hipporag", "musique_dev", "hotpot_dev")
FUSED_LOSS = 0.5
"""Points of recall@10 that the tree may cost hybrid search; the aim is a gain of 3."""
GROWN_LOSS = 2.0
"""Points of recall@10 that grown trees may lack of fresh ones, in the mean of some of each."""
GROWN_ASKED = 300
"""Questions at most that the two are compared by."""
CALIBRATED_LEAD = 3.0
"""Points of nDCG@10 by which ridge must beat the mean of scores (`methods.md`, check 2)."""
FASTER = 5.0
"""How many times as fast as the gradient's fit ridge must be."""
_SPREAD = (0.15, 0.10)
_SEEDS = 30
_ALL = 1_000_000

Say = Callable[[str], None]
QUALITIES: Mapping[str, Callable[[IncrementalTree], float]] = {
    "simulated": lambda one: one.simulated_recall_10,
    "local": lambda one: one.local_recall_10,
}
"""By whose scores a grown tree is searched."""


def tree_floors(data: Path, sets: Sequence[str], cache: StoreCache, *, say: Say) -> list[Threshold]:
    """The floors of those of the sets that have any, and of the fits if one has.

    Args:
        data: the folder of all sets.
        sets: names; only the development sets have floors here.
        cache: where their stores are kept.
        say: hears of what was measured, line by line.

    Raises:
        HoptrailError: a set or its store cannot be read, or the embedder fails.
    """
    ours = [name for name in sets if name in SETS]
    floors = []
    for name in ours:
        floors += [_fused(data / name, cache, say), *_grown(data / name, cache, say)]
    return [*floors, *_calibrated(say)] if ours else floors


def _fused(folder: Path, cache: StoreCache, say: Say) -> Threshold:
    with world_of(folder, cache, most=_ALL) as (world, store):
        found = {one.system: one for one in local(world, Retriever(store, cache.embedder))}
    for one in found.values():
        say(
            f"{one.set}, {one.system}: recall @2 {one.recall_2:.1f} @5 {one.recall_5:.1f} "
            f"@10 {one.recall_10:.1f}, {one.looked:.0f} leaves looked at ({one.questions:,})"
        )
    hybrid = found["hybrid"].recall_10
    return Threshold(
        set=found["hybrid"].set,
        what=f"tree and hybrid fused, recall@10, vs {hybrid:.1f}",
        measured=found[FUSED].recall_10,
        wanted=hybrid - FUSED_LOSS,
    )


def _grown(folder: Path, cache: StoreCache, say: Say) -> list[Threshold]:
    with world_of(folder, cache, most=GROWN_ASKED) as (world, store):
        found = []
        for one in growth(world, Retriever(store, cache.embedder)):
            found.append(one)
            say(
                f"{one.set}, {one.tree} tree {one.seed}: recall@10 "
                f"{one.simulated_recall_10:.1f} simulated, {one.local_recall_10:.1f} local "
                f"({one.questions} questions), {one.faults} faults"
            )
    floors = []
    for scorer, quality in QUALITIES.items():
        fresh, grown = (
            fmean(quality(one) for one in found if one.tree == tree) for tree in ("fresh", "grown")
        )
        floors.append(
            Threshold(
                set=folder.name,
                what=f"grown trees, {scorer} recall@10, vs {fresh:.1f}",
                measured=grown,
                wanted=fresh - GROWN_LOSS,
            )
        )
    return floors


def _calibrated(say: Say) -> list[Threshold]:
    found = {one.fit: one for one in fits(_SEEDS, [_SPREAD])}
    for one in found.values():
        say(f"made-up slates, {one.fit}: nDCG@10 {100 * one.ndcg_10:.1f} in {one.ms:.2f} ms")
    ridge, gradient, mean = (found[name] for name in ("ridge", "gradient", "mean"))
    compared = (
        ("ridge, nDCG@10 in %, vs the gradient's", ridge.ndcg_10, 100 * gradient.ndcg_10),
        ("ridge, nDCG@10 in %, vs the mean's", ridge.ndcg_10, 100 * mean.ndcg_10 + CALIBRATED_LEAD),
    )
    return [
        *(
            Threshold(set="made-up slates", what=what, measured=100 * value, wanted=wanted)
            for what, value, wanted in compared
        ),
        Threshold(
            set="made-up slates",
            what="ridge, times as fast as the gradient's fit",
            measured=gradient.ms / ridge.ms,
            wanted=FASTER,
        ),
    ]
