"""Benchmark of incremental insertion: trees grown leaf by leaf beside trees built at once.

    python -m hoptrail.evals.benchmarks.tree DATA --growth [--sets NAME...]

Both have the same leaves and are searched for the same questions: by a simulated scorer
(`simulated_scorer`) and by the local one, the latter without seeds, which would hide what the tree
does badly. Measured are nDCG@10, recall@10, time of an insertion and broken invariants.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.evals.benchmarks.tree.ground_truth import InMemoryLeaves, LabelledTree
from hoptrail.evals.benchmarks.tree.local_search import search_questions
from hoptrail.evals.benchmarks.tree.scaling import depth_of
from hoptrail.evals.benchmarks.tree.simulated_scorer import simulation
from hoptrail.evals.metrics.aggregate import average
from hoptrail.evals.metrics.ranking import recall
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.tree.builders.extractive_text import extractive_texts
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.search.types import TreeSearchSettings
from hoptrail.rag.tree.types import Tree, TreeSpec
from hoptrail.rag.tree.update import sync_tree
from hoptrail.rag.tree.view import TreeView
from hoptrail.rag.types import Vectors

SHARE = 0.3
"""Share of the leaves that is inserted one by one."""
SPREAD = (0.15, 0.10)
"""The simulated scorer's bias and noise."""
TREES = 3
"""Number of fresh trees, and of grown trees."""
SIMULATED = 60
"""Questions at most that the simulated scorer answers: it hardly differs between trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalTree:
    """Size and search quality of one tree; nDCG and recall in percent."""

    set: str
    tree: str
    """`fresh` or `grown`."""
    seed: int
    """Seed of the tree and of the order of insertion."""
    questions: int
    leaves: int
    inserted: int
    insert_ms: float
    """Mean milliseconds of one insertion; 0: there was none."""
    nodes: int
    depth: int
    faults: int
    """Number of broken invariants; must be 0."""
    simulated_ndcg_10: float
    simulated_recall_10: float
    local_recall_10: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeafSubset:
    """Leaves of a store that are inserted so far."""

    whole: InMemoryLeaves
    numbers: NDArray[np.int64]
    generation: int

    def rows(self) -> NDArray[np.int64]:
        """Rows of all leaves, ascending (`Leaves.rows`)."""
        return self.numbers

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """First row of the document of each leaf (`Leaves.documents`)."""
        return self.whole.documents(rows)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """Vectors of leaves, (len(rows), dimension) (`Leaves.vectors`)."""
        return self.whole.vectors(rows)

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Texts of leaves (`Leaves.texts`)."""
        return self.whole.texts(rows)


def incremental_trees(
    labelled: LabelledTree, searcher: Retriever, trees: int = TREES
) -> Iterator[IncrementalTree]:
    """Pairs of a fresh tree and a grown tree, 30 % of whose leaves are inserted one by one.

    Recall of a weak scorer depends much on chance: fresh trees that differ by their seed alone
    differ by three points on 290 questions. Compare means over several trees.

    Args:
        labelled: the tree of a data set.
        searcher: of its store.
        trees: number of pairs; each has its own seed and order of insertion.
    """
    for seed in range(trees):
        spec = replace(labelled.tree.spec, seed=seed)
        yield _measured(labelled, searcher, "fresh", build_tree(labelled.leaves, spec), 0, 0.0)
        yield _grown(labelled, searcher, spec)


def _grown(labelled: LabelledTree, searcher: Retriever, spec: TreeSpec) -> IncrementalTree:
    rows = labelled.leaves.rows()
    order = np.random.default_rng(spec.seed).permutation(len(rows))
    late = rows[order[: round(SHARE * len(rows))]]
    here = np.setdiff1d(rows, late)
    leaves = LeafSubset(whole=labelled.leaves, numbers=here, generation=1)
    tree = build_tree(leaves, spec)
    started = time.perf_counter()
    for row in late.tolist():
        here = np.union1d(here, [row])
        leaves = LeafSubset(whole=labelled.leaves, numbers=here, generation=leaves.generation + 1)
        tree = sync_tree(tree, leaves, extractive_texts).tree
    spent = 1e3 * (time.perf_counter() - started) / max(1, len(late))
    return _measured(labelled, searcher, "grown", tree, len(late), spent)


def _measured(
    labelled: LabelledTree, searcher: Retriever, name: str, tree: Tree, inserted: int, spent: float
) -> IncrementalTree:
    here = replace(labelled, tree=tree, view=TreeView(tree, labelled.leaves))
    some = replace(here, questions=here.questions[:: -(-len(here.questions) // SIMULATED)])
    (curve,) = simulation(some, spreads=(SPREAD,), fits=("ridge",))
    walked = search_questions(here, searcher, TreeSearchSettings(seeds=0))
    recalls = [
        recall(labelled.ranking(one.leaves.rows.tolist()), one.asked.grades.keys(), 10)
        for one in walked
    ]
    return IncrementalTree(
        set=labelled.name,
        tree=name,
        seed=tree.spec.seed,
        questions=len(walked),
        leaves=len(labelled.leaves.numbers),
        inserted=inserted,
        insert_ms=spent,
        nodes=len(tree.nodes),
        depth=depth_of(tree),
        faults=len(tree_faults(tree, labelled.leaves.numbers.tolist(), labelled.leaves.vectors)),
        simulated_ndcg_10=100 * curve.ndcg_10[-1],
        simulated_recall_10=100 * curve.recall_10[-1],
        local_recall_10=100 * (average(recalls).value or 0.0),
    )
