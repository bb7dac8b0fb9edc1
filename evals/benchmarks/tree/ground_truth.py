"""Corpus tree of a data set, with the true relevance of leaves and nodes to its questions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.evals.benchmarks.graph.variants import prepare_variant
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
"""True relevance of a supporting record, or of one of the best grade; other grades lie between
`LIKE` and this."""
LIKE = 0.65
"""Largest true relevance of a leaf that supports nothing but resembles the question."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuestion:
    """Question with its vector and its graded records."""

    number: int
    text: str
    vector: NDArray[np.float32]
    """(dimension,), L2-normalised."""
    grades: Mapping[str, int]
    """Record id to relevance, above 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InMemoryLeaves:
    """Leaves of a store with vectors and texts in memory, since many searches read them."""

    generation: int
    numbers: NDArray[np.int64]
    """Rows, ascending; the other fields are parallel to it."""
    firsts: NDArray[np.int64]
    points: Vectors
    bodies: Sequence[str]

    def rows(self) -> NDArray[np.int64]:
        """Rows of all leaves, ascending (`Leaves.rows`)."""
        return self.numbers

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """First row of the document of each leaf (`Leaves.documents`)."""
        return self.firsts[self.places(rows)]

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """Vectors of leaves, (len(rows), dimension) (`Leaves.vectors`)."""
        return self.points[self.places(rows)]

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Texts of leaves (`Leaves.texts`)."""
        return tuple(self.bodies[place] for place in self.places(rows).tolist())

    def places(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Indices of rows in the parallel fields."""
        found: NDArray[np.int64] = np.searchsorted(self.numbers, np.asarray(rows, dtype=np.int64))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledTree:
    """Tree over the store of a data set, in memory, and the questions about it."""

    name: str
    leaves: InMemoryLeaves
    records: Sequence[str]
    """Record id of each leaf, parallel to `leaves.numbers`."""
    rows: Mapping[str, int]
    """Row by passage id."""
    tree: Tree
    view: TreeView
    questions: Sequence[LabelledQuestion]
    seconds: float
    cpu_seconds: float
    """Processor seconds of building the tree; `seconds` is wall time."""

    def ranking(self, rows: Sequence[int]) -> list[str]:
        """Record ids of leaves, in their order; an id may repeat."""
        return [self.records[place] for place in self.leaves.places(rows).tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueRelevance:
    """True relevance of all leaves and nodes to one question, 0..1."""

    leaves: Mapping[int, float]
    """Relevance by row."""
    nodes: Mapping[int, float]
    """Relevance by node number: that of the best leaf below."""

    def of(self, ref: Ref) -> float:
        """Relevance of a leaf or a node."""
        return self.leaves[ref.number] if ref.leaf else self.nodes[ref.number]


@contextmanager
def labelled_tree(
    folder: Path, cache: StoreCache, *, most: int, method: Method = "bottom-up"
) -> Iterator[tuple[LabelledTree, Store]]:
    """Tree of a data set, built without a model, and its open store; a context manager.

    Args:
        folder: the data set; its store is made by the real ingest and kept.
        cache: keeps the store.
        most: questions at most, spread evenly over those whose supports are known.
        method: how the tree is built.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepare_variant(folder, "whole", cache)
    questions = [one for one in made.dataset.questions if one.support_is_whole]
    questions = questions[:: -(-len(questions) // most)]
    with Store.open(made.store.root, embedder=cache.embedder) as store:
        stored = StoreLeaves(store)
        leaves, passages = leaves_in_memory(store, stored)
        spec = TreeSpec(
            method=method, embedder=cache.embedder.id, dimension=cache.embedder.dimension
        )
        started, spent = time.perf_counter(), time.process_time()
        tree = build_tree(leaves, spec)
        labelled = LabelledTree(
            name=made.name,
            leaves=leaves,
            records=[one.document_id for one in passages],
            rows={one.id: row for one, row in zip(passages, leaves.numbers.tolist(), strict=True)},
            tree=tree,
            view=TreeView(tree, leaves),
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - spent,
            questions=_labelled_questions(questions, cache),
        )
        yield labelled, store


def leaves_in_memory(store: Store, leaves: Leaves) -> tuple[InMemoryLeaves, list[Passage]]:
    """Reads the leaves of a store into memory, with their passages; no other process may write."""
    rows = leaves.rows()
    passages = [one for one in store.resolve(rows) if one is not None]
    assert len(passages) == len(rows), "Another process wrote to the store."
    kept = InMemoryLeaves(
        generation=leaves.generation,
        numbers=rows,
        firsts=leaves.documents(rows),
        points=leaves.vectors(rows),
        bodies=leaves.texts(rows),
    )
    return kept, passages


def _labelled_questions(questions: Sequence[Question], cache: StoreCache) -> list[LabelledQuestion]:
    vectors = cache.embedder.embed([one.question for one in questions], "query")
    return [
        LabelledQuestion(number=number, text=one.question, vector=vector, grades=_grades(one))
        for number, (one, vector) in enumerate(zip(questions, vectors, strict=True))
    ]


def _grades(question: Question) -> dict[str, int]:
    graded = {record: grade for record, grade in question.grades.items() if grade > 0}
    return graded or dict.fromkeys(question.supporting_ids, 1)


def true_relevance(labelled: LabelledTree, asked: LabelledQuestion) -> TrueRelevance:
    """True relevance to one question: supports by grade, other leaves by cosine, at most `LIKE`.

    A corpus where only the supports have any relevance would be too easy: a model finds texts near
    a question somewhat relevant.
    """
    similarity = np.clip(labelled.leaves.points @ asked.vector, 0, None).astype(np.float64)
    values = LIKE * similarity / max(float(similarity.max()), 1e-9)
    best = max(asked.grades.values())
    for place, record in enumerate(labelled.records):
        if record in asked.grades:
            values[place] = LIKE + (SUPPORT - LIKE) * asked.grades[record] / best
    leaves = dict(zip(labelled.leaves.numbers.tolist(), values.tolist(), strict=True))
    nodes: dict[int, float] = {}
    for node in reversed(list(labelled.tree.walk(ROOT))):
        below = [nodes[one] for one in node.children] + [leaves[row] for row in node.rows]
        nodes[node.number] = max(below)
    return TrueRelevance(leaves=leaves, nodes=nodes)
