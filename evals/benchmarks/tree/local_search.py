"""Benchmark of tree search without a model, beside hybrid search and fused with it.

    python -m hoptrail.evals.benchmarks.tree DATA --local [--sets NAME...] [--fusions]

The scorer is the local one: shared words, cosine similarity, names to follow. The search is seeded
with the hits of hybrid search, as in the strategy `lattice`. Measured are recall@2, @5 and @10.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from hoptrail.agents.nodes.evidence_pool import CHEAP_HYBRID
from hoptrail.agents.nodes.tree_navigator import FUSED_LEAVES
from hoptrail.evals.benchmarks.tree.ground_truth import LabelledQuestion, LabelledTree
from hoptrail.evals.metrics.ranking import first_occurrences, recall
from hoptrail.rag.retrieval.fusion import Fusion, MinMaxFusion, ReciprocalRankFusion
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.tree.search.best_first import TreeSearch, run_search
from hoptrail.rag.tree.search.local_scorer import local_scorer
from hoptrail.rag.tree.search.types import TreeSearchResult, TreeSearchSettings
from hoptrail.rag.types import Candidates, Mode

DEPTH = 50
"""Hits of hybrid search that are fused with the leaves."""
FUSED = "fused"
"""Name of the system with the product's own fusion."""
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
"""Other fusions by name; weights are those of hybrid search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSearchScore:
    """Recall of one system on one data set, in percent, means over the questions."""

    set: str
    system: str
    questions: int
    recall_2: float
    recall_5: float
    recall_10: float
    looked: float
    """Leaves scored for a question, mean; 0: no tree was searched."""
    calls: float
    """Slates scored for a question, mean."""
    ms: float
    """Median milliseconds of a tree search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSearch:
    """Results of one question: hybrid search and tree search."""

    asked: LabelledQuestion
    cheap: Candidates
    """Hits of hybrid search, or of the mode given."""
    leaves: Candidates
    """Leaves of the tree search, best first."""
    found: TreeSearchResult
    seconds: float


def local_search_scores(
    labelled: LabelledTree, searcher: Retriever, *, fusions: bool = False
) -> list[LocalSearchScore]:
    """Recall of hybrid search, of tree search with and without seeds, and of their fusion.

    Args:
        labelled: the tree of a data set.
        searcher: of its store.
        fusions: whether all of `FUSIONS` are measured too.
    """
    seeded = search_questions(labelled, searcher, TreeSearchSettings())
    alone = search_questions(labelled, searcher, TreeSearchSettings(seeds=0))
    tried = FUSIONS if fusions else {}
    return [
        _scored(labelled, "hybrid", seeded, [one.cheap for one in seeded], searched=False),
        _scored(labelled, "tree, unseeded", alone, [one.leaves for one in alone]),
        _scored(labelled, "tree", seeded, [one.leaves for one in seeded]),
        _scored(labelled, FUSED, seeded, [fused(one, FUSION) for one in seeded]),
        *(
            _scored(labelled, name, seeded, [fused(one, fusion) for one in seeded])
            for name, fusion in tried.items()
        ),
    ]


def search_questions(
    labelled: LabelledTree, searcher: Retriever, settings: TreeSearchSettings, mode: Mode = "hybrid"
) -> list[QuestionSearch]:
    """Searches for every question: first by `mode`, then in the tree, seeded with those hits."""
    return [
        _search_question(labelled, searcher, settings, asked, mode) for asked in labelled.questions
    ]


def _search_question(
    labelled: LabelledTree,
    searcher: Retriever,
    settings: TreeSearchSettings,
    asked: LabelledQuestion,
    mode: Mode,
) -> QuestionSearch:
    hits = searcher.search(asked.text, k=DEPTH, mode=mode).hits
    cheap = Candidates(
        rows=np.array([labelled.rows[hit.passage.id] for hit in hits], dtype=np.int64),
        scores=np.array([hit.score for hit in hits], dtype=np.float32),
    )
    started = time.perf_counter()
    # A search without seeds asks for none.
    seeds = labelled.view.seeds(asked.vector, cheap.rows.tolist(), settings.seeds)
    search = TreeSearch(settings, seeds)
    found = run_search(
        search, lambda numbers: labelled.view.open(asked.vector, numbers), local_scorer(asked.text)
    )
    seconds = time.perf_counter() - started
    leaves = Candidates(
        rows=np.array([leaf.row for leaf in found.leaves], dtype=np.int64),
        scores=np.array([leaf.relevance for leaf in found.leaves], dtype=np.float32),
    )
    return QuestionSearch(asked=asked, cheap=cheap, leaves=leaves, found=found, seconds=seconds)


def fused(search: QuestionSearch, fusion: Fusion) -> Candidates:
    """Fuses hybrid hits and leaves as `agents.nodes.tree_navigator` does: the best leaves only."""
    leaves = search.leaves
    best = Candidates(rows=leaves.rows[:FUSED_LEAVES], scores=leaves.scores[:FUSED_LEAVES])
    return fusion.fuse(search.cheap, best)


def _scored(
    labelled: LabelledTree,
    system: str,
    walked: Sequence[QuestionSearch],
    rankings: Sequence[Candidates],
    *,
    searched: bool = True,
) -> LocalSearchScore:
    ranked = [first_occurrences(labelled.ranking(one.rows.tolist())) for one in rankings]

    def mean(k: int) -> float:
        pairs = zip(walked, ranked, strict=True)
        return 100 * fmean(recall(ids, one.asked.grades.keys(), k) or 0.0 for one, ids in pairs)

    return LocalSearchScore(
        set=labelled.name,
        system=system,
        questions=len(walked),
        recall_2=mean(2),
        recall_5=mean(5),
        recall_10=mean(10),
        looked=fmean(one.found.looked for one in walked) if searched else 0.0,
        calls=fmean(one.found.calls for one in walked) if searched else 0.0,
        ms=1e3 * median(one.seconds for one in walked) if searched else 0.0,
    )
