"""Build time and peak memory of a corpus tree by size, without a model, over synthetic leaves.

    python -m hoptrail.evals.benchmarks.tree --scale 100000 [--per-document N] [--method METHOD]

Leaves scatter about topics, topics about fields, as texts do; without clusters any clustering looks
worse than it is. Texts are generated on demand, so the memory measured beside the vectors is the
builder's.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.tree.types import Method, Tree, TreeSpec
from hoptrail.rag.types import Vectors

DIMENSION = 384
FIELDS = 100
TOPICS = 40
"""Topics of each field."""
_WORDS = 30
"""Words of a leaf: some of its topic, some of its field, the rest of the whole vocabulary."""
_BLOCK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltTree:
    """Cost and shape of one tree built over synthetic leaves."""

    leaves: int
    per_document: int
    method: Method
    seconds: float
    cpu_seconds: float
    """Processor seconds of all cores; other processes do not lengthen it."""
    vectors_mb: float
    peak_mb: float
    """Peak memory of the process in MiB, vectors and libraries included."""
    nodes: int
    depth: int
    """Edges from the root to the deepest leaf."""
    mean_fanout: float
    lonely: int
    """Lowest nodes with a single leaf."""
    siblings: float
    """Mean cosine of a leaf to the sum of its sibling leaves, -1..1."""
    load: float


class SyntheticLeaves:
    """Synthetic leaves in documents of `per_document`; equal arguments give equal leaves."""

    generation = 1

    def __init__(self, count: int, *, per_document: int = 1, dimension: int = DIMENSION) -> None:
        self._count, self._per_document = count, per_document
        random = np.random.default_rng(count)
        documents = -(-count // per_document)
        fields = random.normal(size=(FIELDS, dimension))
        topics = fields.repeat(TOPICS, axis=0) + random.normal(size=(FIELDS * TOPICS, dimension))
        self._topics = random.integers(len(topics), size=documents)
        self._points = np.empty((count, dimension), dtype=np.float32)
        for start in range(0, count, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, count))
            points = topics[self._topics[rows // per_document]]
            points = points + 1.2 * random.normal(size=points.shape)
            self._points[rows] = points / np.linalg.norm(points, axis=1, keepdims=True)

    def rows(self) -> NDArray[np.int64]:
        """Rows of all leaves, ascending (`Leaves.rows`)."""
        return np.arange(self._count, dtype=np.int64)

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """First row of the document of each leaf (`Leaves.documents`)."""
        numbers = np.asarray(rows, dtype=np.int64)
        return numbers - numbers % self._per_document

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """Vectors of leaves, (len(rows), dimension) (`Leaves.vectors`)."""
        return self._points[np.asarray(rows, dtype=np.int64)]

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Texts of leaves (`Leaves.texts`)."""
        return tuple(self._text(row) for row in np.asarray(rows, dtype=np.int64).tolist())

    def _text(self, row: int) -> str:
        document = row // self._per_document
        topic = int(self._topics[document])
        drawn = np.random.default_rng(row).integers(1 << 30, size=_WORDS).tolist()
        own = [f"topic{topic}x{one % 20}" for one in drawn[:8]]
        wide = [f"field{topic // TOPICS}x{one % 60}" for one in drawn[8:16]]
        rest = [f"word{one % 20_000}" for one in drawn[16:]]
        return f"Document {document}\nThe {' '.join([*own, *wide, *rest])} of {row}."


def scale(count: int, *, per_document: int, method: Method) -> BuiltTree:
    """Builds a tree over synthetic leaves; for `peak_mb`, run it in a process of its own."""
    leaves = SyntheticLeaves(count, per_document=per_document)
    spec = TreeSpec(method=method, embedder="made-up", dimension=DIMENSION)
    started, spent = time.perf_counter(), time.process_time()
    tree = build_tree(leaves, spec)
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    last = [node for node in tree.nodes.values() if node.rows]
    return BuiltTree(
        leaves=count,
        per_document=per_document,
        method=method,
        seconds=seconds,
        cpu_seconds=cpu,
        vectors_mb=count * DIMENSION * 4 / 2**20,
        peak_mb=peak_mb(),
        nodes=len(tree.nodes),
        depth=depth_of(tree),
        mean_fanout=(count + len(tree.nodes) - 1) / len(tree.nodes),
        lonely=sum(len(node.rows) == 1 for node in last),
        siblings=_siblings(leaves, [node.rows for node in last]),
        load=os.getloadavg()[0],
    )


def depth_of(tree: Tree) -> int:
    """Edges from the root to the deepest leaf."""
    return 1 + max(tree.depth(node.number) for node in tree.nodes.values() if node.rows)


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _siblings(leaves: SyntheticLeaves, groups: Sequence[tuple[int, ...]]) -> float:
    found, count = 0.0, 0
    for rows in groups:
        if len(rows) > 1:
            points = leaves.vectors(rows).astype(np.float64)
            others = points.sum(axis=0) - points
            lengths = np.maximum(np.linalg.norm(others, axis=1), 1e-9)
            found += float((np.einsum("ij,ij->i", points, others) / lengths).sum())
            count += len(rows)
    return found / max(count, 1)
