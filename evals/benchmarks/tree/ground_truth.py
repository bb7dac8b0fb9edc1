"""A real corpus as a tree, with the true relevance of everything in it to real questions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.evals.benchmarks.graph.variants import prepared
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import ROOT, Leaves, Method, Tree, TreeSpec
from hoptrail.rag.tree.view import TreeView
from hoptrail.rag.types import Passage, Vectors

SUPPORT = 0.85
"""True relevance of a supporting record, or of one of the best grade; other grades lie between."""
LIKE = 0.65
"""True relevance of a leaf like the question that supports nothing, at most."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as a simulation knows it."""

    number: int
    text: str
    vector: NDArray[np.float32]
    """(dimension,), L2-normalised."""
    grades: Mapping[str, int]
    """Record id to relevance, above 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InMemoryLeaves:
    """The leaves of a store, vectors and texts in memory: many searches open them again."""

    generation: int
    numbers: NDArray[np.int64]
    """Rows, ascending; what stands at a place of the other fields belongs to the row there."""
    firsts: NDArray[np.int64]
    points: Vectors
    bodies: Sequence[str]

    def rows(self) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self.numbers

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self.firsts[self.places(rows)]

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """As of `Leaves`."""
        return self.points[self.places(rows)]

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """As of `Leaves`."""
        return tuple(self.bodies[place] for place in self.places(rows).tolist())

    def places(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Where rows stand."""
        found: NDArray[np.int64] = np.searchsorted(self.numbers, np.asarray(rows, dtype=np.int64))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTree:
    """A set's store as a tree in memory, and the questions about it."""

    name: str
    leaves: InMemoryLeaves
    records: Sequence[str]
    """Which record of the corpus each leaf is of, by place."""
    rows: Mapping[str, int]
    """By passage id."""
    tree: Tree
    view: TreeView
    questions: Sequence[Asked]
    seconds: float
    cpu_seconds: float
    """What planting the tree took."""

    def ranking(self, rows: Sequence[int]) -> list[str]:
        """The records of leaves; one may come again."""
        return [self.records[place] for place in self.leaves.places(rows).tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How relevant everything is to one question, 0..1."""

    leaves: Mapping[int, float]
    """By row."""
    nodes: Mapping[int, float]
    """By number: the best leaf below."""

    def of(self, ref: Ref) -> float:
        """Of a leaf or a node."""
        return self.leaves[ref.number] if ref.leaf else self.nodes[ref.number]


@contextmanager
def world_of(
    folder: Path, cache: StoreCache, *, most: int, method: Method = "bottom-up"
) -> Iterator[tuple[LabelledTree, Store]]:
    """A set's tree, built without a model, and its store, for the time of a `with` block.

    Args:
        folder: the set; its store is made by the real ingest and kept.
        cache: where.
        most: questions at most, spread over those whose supports are known.
        method: how the tree is built.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepared(folder, "whole", cache)
    questions = [one for one in made.dataset.questions if one.support_is_whole]
    questions = questions[:: -(-len(questions) // most)]
    with Store.open(made.store.root, embedder=cache.embedder) as store:
        stored = StoreLeaves(store)
        leaves, passages = held(store, stored)
        spec = TreeSpec(
            method=method, embedder=cache.embedder.id, dimension=cache.embedder.dimension
        )
        started, spent = time.perf_counter(), time.process_time()
        tree = build_tree(leaves, spec)
        world = LabelledTree(
            name=made.name,
            leaves=leaves,
            records=[one.document_id for one in passages],
            rows={one.id: row for one, row in zip(passages, leaves.numbers.tolist(), strict=True)},
            tree=tree,
            view=TreeView(tree, leaves),
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - spent,
            questions=_asked(questions, cache),
        )
        yield world, store


def held(store: Store, leaves: Leaves) -> tuple[InMemoryLeaves, list[Passage]]:
    """The leaves of a store that nobody else writes, read into memory, and their passages."""
    rows = leaves.rows()
    passages = [one for one in store.resolve(rows) if one is not None]
    assert len(passages) == len(rows), "somebody wrote to the store"
    kept = InMemoryLeaves(
        generation=leaves.generation,
        numbers=rows,
        firsts=leaves.documents(rows),
        points=leaves.vectors(rows),
        bodies=leaves.texts(rows),
    )
    return kept, passages


def _asked(questions: Sequence[Question], cache: StoreCache) -> list[Asked]:
    vectors = cache.embedder.embed([one.question for one in questions], "query")
    return [
        Asked(number=number, text=one.question, vector=vector, grades=_grades(one))
        for number, (one, vector) in enumerate(zip(questions, vectors, strict=True))
    ]


def _grades(question: Question) -> dict[str, int]:
    graded = {record: grade for record, grade in question.grades.items() if grade > 0}
    return graded or dict.fromkeys(question.supporting_ids, 1)


def truth_of(world: LabelledTree, asked: Asked) -> Truth:
    """Supports are what the set says; everything else is relevant by its likeness, less than they.

    A corpus where nothing but the supports is relevant at all would be too easy: a model finds
    texts near a question somewhat relevant.
    """
    likeness = np.clip(world.leaves.points @ asked.vector, 0, None).astype(np.float64)
    values = LIKE * likeness / max(float(likeness.max()), 1e-9)
    best = max(asked.grades.values())
    for place, record in enumerate(world.records):
        if record in asked.grades:
            values[place] = LIKE + (SUPPORT - LIKE) * asked.grades[record] / best
    leaves = dict(zip(world.leaves.numbers.tolist(), values.tolist(), strict=True))
    nodes: dict[int, float] = {}
    for node in reversed(list(world.tree.walk(ROOT))):
        below = [nodes[one] for one in node.children] + [leaves[row] for row in node.rows]
        nodes[node.number] = max(below)
    return Truth(leaves=leaves, nodes=nodes)
