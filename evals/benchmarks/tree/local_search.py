"""The tree searched without a model, beside hybrid search, and the two fused.

The scorer is the local one: words in common, the embedder's likeness, names to follow. The search
is seeded with what hybrid search found, as the strategy `lattice` seeds it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from hoptrail.agents.nodes.evidence_pool import CHEAP_HYBRID
from hoptrail.agents.nodes.tree_navigator import FUSED_LEAVES
from hoptrail.evals.benchmarks.tree.ground_truth import Asked, LabelledTree
from hoptrail.evals.metrics.ranking import first_occurrences, recall
from hoptrail.rag.retrieval.fusion import Fusion, MinMaxFusion, ReciprocalRankFusion
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.tree.search.best_first import TreeSearch, run_search
from hoptrail.rag.tree.search.local_scorer import local_scorer
from hoptrail.rag.tree.search.types import TreeSearchResult, TreeSearchSettings
from hoptrail.rag.types import Candidates, Mode

DEPTH = 50
"""Hits of cheap search that are fused with the leaves."""
FUSED = "fused"
"""The system that is fused as the product does it."""
FUSION: Fusion = MinMaxFusion(lexical_weight=CHEAP_HYBRID, floor=None)
FUSIONS: Mapping[str, Fusion] = {
    "reciprocal rank 10": ReciprocalRankFusion(k=10),
    "reciprocal rank 30": ReciprocalRankFusion(k=30),
    "reciprocal rank 60": ReciprocalRankFusion(k=60),
    **{
        f"min-max {weight:.1f}": MinMaxFusion(lexical_weight=weight)
        for weight in (0.4, 0.5, 0.6, 0.7)
    },
    **{
        f"min-max {weight:.1f}, from last": MinMaxFusion(lexical_weight=weight, floor=None)
        for weight in (0.4, 0.5, 0.6, 0.7)
    },
}
"""Weights are those of the cheap search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """One system on one set; recall in percent, means over the questions."""

    set: str
    system: str
    questions: int
    recall_2: float
    recall_5: float
    recall_10: float
    looked: float
    """Leaves that a scorer was shown for a question; 0: no tree was searched."""
    calls: float
    """Slates scored for a question."""
    ms: float
    """Median of a question's search of the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What one question found in the tree and beside it."""

    asked: Asked
    cheap: Candidates
    """Of hybrid search, or whichever mode was asked for."""
    leaves: Candidates
    found: TreeSearchResult
    seconds: float


def local(world: LabelledTree, searcher: Retriever, *, fusions: bool = False) -> list[Local]:
    """Hybrid search, the tree with and without seeds, and hybrid search and tree fused.

    Args:
        world: a set and its tree.
        searcher: of its store.
        fusions: whether every way of fusing is tried, or the product's alone.
    """
    seeded = walks(world, searcher, TreeSearchSettings())
    alone = walks(world, searcher, TreeSearchSettings(seeds=0))
    tried = FUSIONS if fusions else {}
    return [
        _scored(world, "hybrid", seeded, [one.cheap for one in seeded], searched=False),
        _scored(world, "tree, unseeded", alone, [one.leaves for one in alone]),
        _scored(world, "tree", seeded, [one.leaves for one in seeded]),
        _scored(world, FUSED, seeded, [fused(one, FUSION) for one in seeded]),
        *(
            _scored(world, name, seeded, [fused(one, fusion) for one in seeded])
            for name, fusion in tried.items()
        ),
    ]


def walks(
    world: LabelledTree, searcher: Retriever, settings: TreeSearchSettings, mode: Mode = "hybrid"
) -> list[Walk]:
    """Asks every question of a world: cheap search, then the tree from what that found."""
    return [_walk(world, searcher, settings, asked, mode) for asked in world.questions]


def _walk(
    world: LabelledTree, searcher: Retriever, settings: TreeSearchSettings, asked: Asked, mode: Mode
) -> Walk:
    hits = searcher.search(asked.text, k=DEPTH, mode=mode).hits
    cheap = Candidates(
        rows=np.array([world.rows[hit.passage.id] for hit in hits], dtype=np.int64),
        scores=np.array([hit.score for hit in hits], dtype=np.float32),
    )
    started = time.perf_counter()
    # A search without seeds asks for none.
    seeds = world.view.seeds(asked.vector, cheap.rows.tolist(), settings.seeds)
    search = TreeSearch(settings, seeds)
    found = run_search(
        search, lambda numbers: world.view.open(asked.vector, numbers), local_scorer(asked.text)
    )
    seconds = time.perf_counter() - started
    leaves = Candidates(
        rows=np.array([leaf.row for leaf in found.leaves], dtype=np.int64),
        scores=np.array([leaf.relevance for leaf in found.leaves], dtype=np.float32),
    )
    return Walk(asked=asked, cheap=cheap, leaves=leaves, found=found, seconds=seconds)


def fused(walk: Walk, fusion: Fusion) -> Candidates:
    """As `agents.navigating` does it: no more leaves than are read."""
    leaves = walk.leaves
    best = Candidates(rows=leaves.rows[:FUSED_LEAVES], scores=leaves.scores[:FUSED_LEAVES])
    return fusion.fuse(walk.cheap, best)


def _scored(
    world: LabelledTree,
    system: str,
    walked: Sequence[Walk],
    rankings: Sequence[Candidates],
    *,
    searched: bool = True,
) -> Local:
    ranked = [first_occurrences(world.ranking(one.rows.tolist())) for one in rankings]

    def mean(k: int) -> float:
        pairs = zip(walked, ranked, strict=True)
        return 100 * fmean(recall(ids, one.asked.grades.keys(), k) or 0.0 for one, ids in pairs)

    return Local(
        set=world.name,
        system=system,
        questions=len(walked),
        recall_2=mean(2),
        recall_5=mean(5),
        recall_10=mean(10),
        looked=fmean(one.found.looked for one in walked) if searched else 0.0,
        calls=fmean(one.found.calls for one in walked) if searched else 0.0,
        ms=1e3 * median(one.seconds for one in walked) if searched else 0.0,
    )
