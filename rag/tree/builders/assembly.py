"""Assembly of a finished structure into a tree: numbers, parents, counts and totals.

`Branch` is what builders make: a node that does not know its number yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hoptrail.rag.tree.types import NO_PARENT, ROOT, Leaves, Node, Tree, TreeSpec
from hoptrail.rag.types import Rows, Vectors

_BLOCK = 8192
"""Leaves whose vectors are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """An inner node with all below it: either other branches, or leaves by row."""

    text: str = ""
    """Empty: not written yet."""
    branches: tuple[Branch, ...] = ()
    rows: tuple[int, ...] = ()


def assemble_tree(root: Branch, leaves: Leaves, spec: TreeSpec) -> Tree:
    """Assembles the tree of a root: numbers go layer by layer from the root down, `ROOT` first."""
    nodes: dict[int, Node] = {}
    waiting = deque([(root, NO_PARENT)])
    number = ROOT
    while waiting:
        branch, parent = waiting.popleft()
        below = number + len(waiting) + 1
        children = tuple(range(below, below + len(branch.branches)))
        nodes[number] = Node(
            number=number,
            parent=parent,
            text="" if number == ROOT else branch.text,
            children=children,
            rows=branch.rows,
            count=len(branch.rows),
        )
        waiting.extend((one, number) for one in branch.branches)
        number += 1
    return _summed(nodes, leaves, spec)


def _summed(nodes: dict[int, Node], leaves: Leaves, spec: TreeSpec) -> Tree:
    """The tree with the count and total of each node, computed from the leaves up."""
    last = [node for node in nodes.values() if node.rows]
    groups = [np.array(node.rows, dtype=np.int64) for node in last]
    sums = sums_of(groups, leaves, spec.dimension)
    totals = {node.number: total for node, total in zip(last, sums, strict=True)}
    for number in sorted(nodes, reverse=True):  # children have larger numbers than parents
        node = nodes[number]
        if node.children:
            below = [totals[child] for child in node.children]
            totals[number] = np.sum(below, axis=0, dtype=np.float32)
            count = sum(nodes[child].count for child in node.children)
            nodes[number] = replace(node, count=count)
    totals.setdefault(ROOT, np.zeros(spec.dimension, dtype=np.float32))
    return Tree(nodes=nodes, totals=totals, spec=spec, reflects=leaves.generation, generation=1)


def sums_of(groups: Sequence[Rows], leaves: Leaves, dimension: int) -> Vectors:
    """Returns (len(groups), dimension) float32: the sum of the vectors of each group's leaves.

    No group may be empty.
    """
    sums = np.zeros((len(groups), dimension), dtype=np.float32)
    start = 0
    ends = np.cumsum([len(group) for group in groups])
    while start < len(groups):
        before = int(ends[start]) - len(groups[start])
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
        vectors = leaves.vectors(np.concatenate(groups[start:stop]))
        firsts = [int(end) - before for end in ends[start : stop - 1]]
        sums[start:stop] = np.add.reduceat(vectors, [0, *firsts], axis=0)
        start = stop
    return sums
