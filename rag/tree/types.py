"""Records of the corpus tree: nodes, the tree, its spec, its leaves.

A leaf is a row of the store's catalogue (a passage, or a document's first row where the tree is
over documents); row numbers are never reused, so a row always means the same passage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Vectors

ROOT = 0
"""Number of the root."""
NO_PARENT = -1
"""Parent number of the root."""
MOST_DEPTH = 8
"""Maximum number of edges from the root to a leaf."""
FANOUT = 14
"""Default maximum number of children of a node."""

Method = Literal["bottom-up", "top-down"]
LeafKind = Literal["passages", "documents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An inner node: its children are either inner nodes or leaves, never both."""

    number: int
    """Unique in its tree, never reused."""
    parent: int
    """Number of the parent; `NO_PARENT` for the root."""
    text: str
    """Summary that distinguishes it from its siblings; empty for the root alone."""
    children: tuple[int, ...] = ()
    """Numbers of the child nodes."""
    rows: tuple[int, ...] = ()
    """Rows of the child leaves."""
    count: int
    """Number of leaves in the subtree."""
    changed: int = 0
    """Number of leaves inserted into or removed from the subtree since the text was written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """A tree over the rows of one store; immutable."""

    nodes: Mapping[int, Node]
    """By number; holds `ROOT`."""
    totals: Mapping[int, NDArray[np.float32]]
    """By node number: the sum of the unit vectors of the leaves below, (dimension,)."""
    spec: TreeSpec
    reflects: int
    """The store's generation whose passages it has."""
    generation: int
    """The tree's own generation; every change increases it."""
    given: int = 0
    """Node numbers below it may have belonged to removed nodes."""

    @property
    def fresh(self) -> int:
        """The next unused node number."""
        return max(self.given, max(self.nodes, default=ROOT) + 1)

    def walk(self, start: int = ROOT) -> Iterator[Node]:
        """A node and all inner nodes below it, parents before children, children in order."""
        waiting = [start]
        while waiting:
            node = self.nodes[waiting.pop()]
            yield node
            waiting.extend(reversed(node.children))

    def path(self, number: int) -> tuple[int, ...]:
        """The numbers from the root to a node, both included."""
        found = [number]
        while (parent := self.nodes[found[-1]].parent) != NO_PARENT:
            found.append(parent)
        return tuple(reversed(found))

    def depth(self, number: int) -> int:
        """Edges from the root to a node; its leaves are one deeper."""
        return len(self.path(number)) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeChange:
    """A changed tree, and the nodes that have to be written."""

    tree: Tree
    before: int
    """Generation of the tree before the change; that of `tree` if nothing changed."""
    touched: frozenset[int]
    """Numbers of the nodes that are new or differ, totals included."""
    gone: frozenset[int]
    """Numbers of the removed nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSpec:
    """The spec of a tree: how it was made."""

    method: Method
    fanout: int = FANOUT
    over: LeafKind = "passages"
    seed: int = 0
    model: str = ""
    """Name of the model that wrote the texts; empty: they are extractive."""
    embedder: str
    dimension: int


class Leaves(Protocol):
    """The leaves of a tree: their rows, vectors and texts."""

    @property
    def generation(self) -> int:
        """The store's generation that the leaves belong to."""

    def rows(self) -> NDArray[np.int64]:
        """Rows of all leaves, ascending."""

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),): the first row of each one's document; a document's rows are adjacent."""

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """(len(rows), dimension) float32, L2-normalised, in their order."""

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Title, a line break, text of each row, in order; empty for a removed one."""
