"""Regression thresholds of tree search, without any strategy and without a model.

Tree search fused with hybrid search loses next to nothing against hybrid search alone; a tree grown
leaf by leaf is as good as one built at once; ridge calibration is as good as the gradient fit of
LATTICE's repository, and better than plain averaging.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from hoptrail.evals.benchmarks.tree.calibration_fit import calibration_scores
from hoptrail.evals.benchmarks.tree.ground_truth import labelled_tree
from hoptrail.evals.benchmarks.tree.incremental import IncrementalTree, incremental_trees
from hoptrail.evals.benchmarks.tree.local_search import FUSED, local_search_scores
from hoptrail.evals.regression.threshold import ProgressLog, Threshold
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.retrieval.retriever import Retriever

SETS = ("2wiki_hipporag", "musique_dev", "hotpot_dev")
FUSED_LOSS = 0.5
"""Points of recall@10 that the fusion with tree search may lose against hybrid search alone."""
GROWN_LOSS = 2.0
"""Points of mean recall@10 that grown trees may lose against trees built at once."""
GROWN_ASKED = 300
"""Questions at most in the comparison of grown trees with trees built at once."""
CALIBRATED_LEAD = 3.0
"""Points of nDCG@10 by which ridge calibration must beat plain averaging."""
FASTER = 5.0
"""How many times as fast as the gradient fit ridge calibration must be."""
_SPREAD = (0.15, 0.10)
"""Standard deviations of a slate's bias and of a score's noise."""
_SEEDS = 30
_ALL = 1_000_000

QUALITIES: Mapping[str, Callable[[IncrementalTree], float]] = {
    "simulated": lambda one: one.simulated_recall_10,
    "local": lambda one: one.local_recall_10,
}
"""Recall@10 of a tree in percent, by the scorer that searches it."""


def tree_thresholds(
    data: Path, sets: Sequence[str], cache: StoreCache, *, log: ProgressLog
) -> list[Threshold]:
    """Thresholds of tree search on those sets that are in `SETS`, and of calibration if any is.

    Args:
        data: the folder that holds the data sets.
        sets: names of sets.
        cache: keeps their stores.
        log: receives lines of progress.

    Raises:
        HoptrailError: a set or its store cannot be read, or the embedder fails.
    """
    ours = [name for name in sets if name in SETS]
    thresholds = []
    for name in ours:
        thresholds += [_fused(data / name, cache, log), *_grown(data / name, cache, log)]
    return [*thresholds, *_calibrated(log)] if ours else thresholds


def _fused(folder: Path, cache: StoreCache, log: ProgressLog) -> Threshold:
    with labelled_tree(folder, cache, most=_ALL) as (labelled, store):
        found = {
            one.system: one
            for one in local_search_scores(labelled, Retriever(store, cache.embedder))
        }
    for one in found.values():
        log(
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


def _grown(folder: Path, cache: StoreCache, log: ProgressLog) -> list[Threshold]:
    with labelled_tree(folder, cache, most=GROWN_ASKED) as (labelled, store):
        found = []
        for one in incremental_trees(labelled, Retriever(store, cache.embedder)):
            found.append(one)
            log(
                f"{one.set}, {one.tree} tree {one.seed}: recall@10 "
                f"{one.simulated_recall_10:.1f} simulated, {one.local_recall_10:.1f} local "
                f"({one.questions} questions), {one.faults} faults"
            )
    thresholds = []
    for scorer, quality in QUALITIES.items():
        fresh, grown = (
            fmean(quality(one) for one in found if one.tree == tree) for tree in ("fresh", "grown")
        )
        thresholds.append(
            Threshold(
                set=folder.name,
                what=f"grown trees, {scorer} recall@10, vs {fresh:.1f}",
                measured=grown,
                wanted=fresh - GROWN_LOSS,
            )
        )
    return thresholds


def _calibrated(log: ProgressLog) -> list[Threshold]:
    found = {one.fit: one for one in calibration_scores(_SEEDS, [_SPREAD])}
    for one in found.values():
        log(f"made-up slates, {one.fit}: nDCG@10 {100 * one.ndcg_10:.1f} in {one.ms:.2f} ms")
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
