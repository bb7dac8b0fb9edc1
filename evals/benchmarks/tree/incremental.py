"""A tree that grew leaf by leaf beside one that was built at once, over the same leaves.

Both are searched for the same questions: by a simulated scorer (`lattice_simulation`) and by the
local one, the latter without seeds, which would lead around what the tree does badly.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.evals.benchmarks.tree.ground_truth import InMemoryLeaves, LabelledTree
from hoptrail.evals.benchmarks.tree.local_search import walks
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
"""Of the leaves come one by one."""
SPREAD = (0.15, 0.10)
"""The simulated scorer's bias and noise."""
TREES = 3
"""Of each kind."""
SIMULATED = 60
"""Questions at most that the simulated scorer is asked: it hardly differs between trees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncrementalTree:
    """One tree; quality in percent."""

    set: str
    tree: str
    """`fresh` or `grown`."""
    seed: int
    """Of the tree, and of the order in which leaves came."""
    questions: int
    leaves: int
    inserted: int
    insert_ms: float
    """Mean of one insertion; 0: there was none."""
    nodes: int
    depth: int
    faults: int
    """Invariants that do not hold; 0 is the only good number."""
    simulated_ndcg_10: float
    simulated_recall_10: float
    local_recall_10: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SomeLeaves:
    """Those of a store's leaves that have come so far."""

    whole: InMemoryLeaves
    numbers: NDArray[np.int64]
    generation: int

    def rows(self) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self.numbers

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self.whole.documents(rows)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """As of `Leaves`."""
        return self.whole.vectors(rows)

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """As of `Leaves`."""
        return self.whole.texts(rows)


def growth(
    world: LabelledTree, searcher: Retriever, trees: int = TREES
) -> Iterator[IncrementalTree]:
    """Fresh trees of a world, each followed by one of which 30 % of the leaves came one by one.

    The search of one tree by a weak scorer leaves much to chance: fresh trees that differ by their
    seed alone differ by three points on 290 questions. So only means over some of them say much.

    Args:
        world: a set.
        searcher: of its store.
        trees: of each kind; each has a seed, and each grown one leaves come in an order of its own.
    """
    for seed in range(trees):
        spec = replace(world.tree.spec, seed=seed)
        yield _measured(world, searcher, "fresh", build_tree(world.leaves, spec), 0, 0.0)
        yield _grown(world, searcher, spec)


def _grown(world: LabelledTree, searcher: Retriever, spec: TreeSpec) -> IncrementalTree:
    rows = world.leaves.rows()
    order = np.random.default_rng(spec.seed).permutation(len(rows))
    late = rows[order[: round(SHARE * len(rows))]]
    here = np.setdiff1d(rows, late)
    leaves = SomeLeaves(whole=world.leaves, numbers=here, generation=1)
    tree = build_tree(leaves, spec)
    started = time.perf_counter()
    for row in late.tolist():
        here = np.union1d(here, [row])
        leaves = SomeLeaves(whole=world.leaves, numbers=here, generation=leaves.generation + 1)
        tree = sync_tree(tree, leaves, extractive_texts).tree
    spent = 1e3 * (time.perf_counter() - started) / max(1, len(late))
    return _measured(world, searcher, "grown", tree, len(late), spent)


def _measured(
    world: LabelledTree, searcher: Retriever, name: str, tree: Tree, inserted: int, spent: float
) -> IncrementalTree:
    here = replace(world, tree=tree, view=TreeView(tree, world.leaves))
    some = replace(here, questions=here.questions[:: -(-len(here.questions) // SIMULATED)])
    (curve,) = simulation(some, spreads=(SPREAD,), fits=("ridge",))
    walked = walks(here, searcher, TreeSearchSettings(seeds=0))
    recalls = [
        recall(world.ranking(one.leaves.rows.tolist()), one.asked.grades.keys(), 10)
        for one in walked
    ]
    return IncrementalTree(
        set=world.name,
        tree=name,
        seed=tree.spec.seed,
        questions=len(walked),
        leaves=len(world.leaves.numbers),
        inserted=inserted,
        insert_ms=spent,
        nodes=len(tree.nodes),
        depth=depth_of(tree),
        faults=len(tree_faults(tree, world.leaves.numbers.tolist(), world.leaves.vectors)),
        simulated_ndcg_10=100 * curve.ndcg_10[-1],
        simulated_recall_10=100 * curve.recall_10[-1],
        local_recall_10=100 * (average(recalls).value or 0.0),
    )
