"""What a tree is, and what passes between a search of it and whoever scores.

A leaf is a row of the store's catalogue (a passage, or a document's first row where the tree is
over documents); rows are never used twice, so a row says for good what it meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Vectors

ROOT = 0
"""The number of the root."""
NO_PARENT = -1
"""The parent of the root."""
MOST_DEPTH = 8
"""Edges from the root to a leaf at most."""
FANOUT = 14
"""Children of a node at most, unless told."""

Method = Literal["bottom-up", "top-down"]
LeafKind = Literal["passages", "documents"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """An inner node: below it stand either inner nodes or leaves, never both."""

    number: int
    """Unique in its tree, never used twice."""
    parent: int
    """`NOBODY` for the root."""
    text: str
    """What distinguishes it from its siblings; empty for the root alone."""
    children: tuple[int, ...] = ()
    """Inner nodes below, by number."""
    rows: tuple[int, ...] = ()
    """Leaves below."""
    count: int
    """Leaves in the whole subtree."""
    changed: int = 0
    """Leaves that came or went in the subtree since the text was written."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """A tree over the rows of one store; replaced, never changed."""

    nodes: Mapping[int, Node]
    """By number; holds `ROOT`."""
    totals: Mapping[int, NDArray[np.float32]]
    """By node number: the sum of the unit vectors of the leaves below, (dimension,)."""
    spec: TreeSpec
    reflects: int
    """The store's generation whose passages stand in it."""
    generation: int
    """The tree's own: grows with every change of it."""
    given: int = 0
    """Numbers below it may have belonged to nodes that are gone."""

    @property
    def fresh(self) -> int:
        """The first number that no node ever had; those after it had none either."""
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
    """What a tree became, and what of it has to be written."""

    tree: Tree
    before: int
    """The generation of the tree that it came of; equal to the tree's own: nothing changed."""
    touched: frozenset[int]
    """The nodes that are new or differ, totals included."""
    gone: frozenset[int]
    """The nodes that are no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSpec:
    """How a tree was made."""

    method: Method
    fanout: int = FANOUT
    over: LeafKind = "passages"
    seed: int = 0
    model: str = ""
    """Who wrote the texts; empty: nobody, they are the documents' own words."""
    embedder: str
    dimension: int


class Leaves(Protocol):
    """The leaves that a tree is built over."""

    @property
    def generation(self) -> int:
        """The store's generation that they are of."""

    def rows(self) -> NDArray[np.int64]:
        """All of them, ascending."""

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),): the first row of the document of each; no other stands between its rows."""

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """(len(rows), dimension) float32, L2-normalised, in their order."""

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Title, a line break, text of each, in their order; empty for one that is gone."""
