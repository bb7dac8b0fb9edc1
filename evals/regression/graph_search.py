"""Regression thresholds of graph search, without any strategy.

Measured are recall@5 on the multi-hop development sets; its lead over hybrid search where no
passage has a title, as in corpora that are no encyclopaedia; and its loss on single-hop questions.
"""

from __future__ import annotations

from pathlib import Path

from hoptrail.evals.benchmarks.graph.recall import RecallScore, quality
from hoptrail.evals.benchmarks.graph.variants import Variant
from hoptrail.evals.regression.threshold import ProgressLog, Threshold
from hoptrail.evals.store_cache import StoreCache

GRAPH_RECALL_AT_5 = {"2wiki_hipporag": 96.0, "musique_dev": 60.0, "hotpot_dev": 90.0}
"""Least recall@5 of graph search in percent, on all questions of the whole set.

Round figures set by hand; no baseline stands behind them."""
UNTITLED_LEAD = 2.0
"""Points of recall@5 by which graph search must beat hybrid search on sets without titles."""
ONE_HOP = ("nq_open", "squad11_dev")
"""Sets of single-hop questions."""
ONE_HOP_LOSS = 1.0
"""Points of recall@5 that graph search may lose against hybrid search on single-hop questions."""
_ALL = 1_000_000


def graph_thresholds(folder: Path, cache: StoreCache, *, log: ProgressLog) -> list[Threshold]:
    """Thresholds of graph search on a multi-hop set; none if `GRAPH_RECALL_AT_5` lacks the set.

    Raises:
        HoptrailError: the set or its store cannot be read, or the embedder fails.
    """
    wanted = GRAPH_RECALL_AT_5.get(folder.resolve().name)
    if wanted is None:
        return []
    whole = _scores(folder, "whole", cache, log)
    untitled = _scores(folder, "untitled", cache, log)
    return [
        _threshold(whole["graph"], "graph search, recall@5 in %", wanted),
        _threshold(
            untitled["graph"],
            f"graph without titles, vs hybrid's {untitled['hybrid'].recall_5:.1f}",
            untitled["hybrid"].recall_5 + UNTITLED_LEAD,
        ),
    ]


def one_hop_thresholds(data: Path, cache: StoreCache, *, log: ProgressLog) -> list[Threshold]:
    """Thresholds of graph search on those single-hop sets that the data folder has.

    Raises:
        HoptrailError: a set or its store cannot be read, or the embedder fails.
    """
    thresholds = []
    for name in ONE_HOP:
        if (data / name).is_dir():
            scores = _scores(data / name, "whole", cache, log)
            hybrid = scores["hybrid"].recall_5
            what = f"graph on one hop, vs hybrid's {hybrid:.1f}"
            thresholds.append(_threshold(scores["graph"], what, hybrid - ONE_HOP_LOSS))
    return thresholds


def _scores(
    folder: Path, variant: Variant, cache: StoreCache, log: ProgressLog
) -> dict[str, RecallScore]:
    scores = quality(folder, variant, cache, _ALL)
    for one in scores:
        tenth = "" if one.recall_10 is None else f" @10 {one.recall_10:.1f}"
        log(
            f"{one.set} {variant}, {one.system}: recall @2 {one.recall_2:.1f} @5 "
            f"{one.recall_5:.1f}{tenth}, all supports @5 {one.all_5:.1f} ({one.questions:,})"
        )
    return {one.system: one for one in scores}


def _threshold(score: RecallScore, what: str, wanted: float) -> Threshold:
    return Threshold(set=score.set, what=what, measured=score.recall_5, wanted=wanted)
