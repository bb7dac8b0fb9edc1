"""The floors of search along the passage graph, without any strategy.

Recall@5 on the development sets as they are; how far it stands above hybrid search where no passage
has a title, as in corpora that are no encyclopaedia; and that questions of one hop lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hoptrail.evals.benchmarks.graph.recall import Score, quality
from hoptrail.evals.benchmarks.graph.variants import Variant
from hoptrail.evals.regression.threshold import Threshold
from hoptrail.evals.store_cache import StoreCache

GRAPH_RECALL_AT_5 = {"2wiki_hipporag": 96.0, "musique_dev": 60.0, "hotpot_dev": 90.0}
"""Percent; the aims are 98, 68 and 94."""
UNTITLED_LEAD = 2.0
"""Points of recall@5 above hybrid search without titles; the aim is 5."""
ONE_HOP = ("nq_open", "squad11_dev")
ONE_HOP_LOSS = 1.0
"""Points of recall@5 that questions of one hop may lose."""
_ALL = 1_000_000

Say = Callable[[str], None]


def graph_floors(folder: Path, cache: StoreCache, *, say: Say) -> list[Threshold]:
    """The floors of one set of questions of several hops; only the aims' sets have any.

    Raises:
        HoptrailError: the set or its store cannot be read, or the embedder fails.
    """
    wanted = GRAPH_RECALL_AT_5.get(folder.resolve().name)
    if wanted is None:
        return []
    whole = _scores(folder, "whole", cache, say)
    untitled = _scores(folder, "untitled", cache, say)
    return [
        _floor(whole["graph"], "graph search, recall@5 in %", wanted),
        _floor(
            untitled["graph"],
            f"graph without titles, vs hybrid's {untitled['hybrid'].recall_5:.1f}",
            untitled["hybrid"].recall_5 + UNTITLED_LEAD,
        ),
    ]


def one_hop_floors(data: Path, cache: StoreCache, *, say: Say) -> list[Threshold]:
    """The floors of the sets of questions of one hop that are there.

    Raises:
        HoptrailError: a set or its store cannot be read, or the embedder fails.
    """
    floors = []
    for name in ONE_HOP:
        if (data / name).is_dir():
            scores = _scores(data / name, "whole", cache, say)
            hybrid = scores["hybrid"].recall_5
            what = f"graph on one hop, vs hybrid's {hybrid:.1f}"
            floors.append(_floor(scores["graph"], what, hybrid - ONE_HOP_LOSS))
    return floors


def _scores(folder: Path, variant: Variant, cache: StoreCache, say: Say) -> dict[str, Score]:
    scores = quality(folder, variant, cache, _ALL)
    for one in scores:
        tenth = "" if one.recall_10 is None else f" @10 {one.recall_10:.1f}"
        say(
            f"{one.set} {variant}, {one.system}: recall @2 {one.recall_2:.1f} @5 "
            f"{one.recall_5:.1f}{tenth}, all supports @5 {one.all_5:.1f} ({one.questions:,})"
        )
    return {one.system: one for one in scores}


def _floor(score: Score, what: str, wanted: float) -> Threshold:
    return Threshold(set=score.set, what=what, measured=score.recall_5, wanted=wanted)
