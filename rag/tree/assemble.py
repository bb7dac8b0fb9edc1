"""A finished structure → the tree: numbers, parents, counts and totals.

`Branch` is what builders make: a node that does not know its number yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.types import NOBODY, ROOT, Leaves, Node, Tree, TreeSpec

_BLOCK = 8192
"""Leaves whose vectors are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """An inner node with all below it: either other branches, or leaves by row."""

    text: str = ""
    """Empty: still to be written."""
    branches: tuple[Branch, ...] = ()
    rows: tuple[int, ...] = ()


def assembled(root: Branch, leaves: Leaves, spec: TreeSpec) -> Tree:
    """The tree of a root: numbers go layer by layer from the root down, `ROOT` first."""
    nodes: dict[int, Node] = {}
    waiting = deque([(root, NOBODY)])
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
    """With what follows from the leaves: each node's count and total, from below."""
    totals = _last_totals((node for node in nodes.values() if node.rows), leaves)
    for number in sorted(nodes, reverse=True):  # children have larger numbers than parents
        node = nodes[number]
        if node.children:
            below = [totals[child] for child in node.children]
            totals[number] = np.sum(below, axis=0, dtype=np.float32)
            count = sum(nodes[child].count for child in node.children)
            nodes[number] = replace(node, count=count)
    totals.setdefault(ROOT, np.zeros(spec.dimension, dtype=np.float32))
    return Tree(nodes=nodes, totals=totals, spec=spec, reflects=leaves.generation, generation=1)


def _last_totals(nodes: Iterable[Node], leaves: Leaves) -> dict[int, NDArray[np.float32]]:
    totals: dict[int, NDArray[np.float32]] = {}
    for block in _blocks(nodes):
        vectors = leaves.vectors([row for node in block for row in node.rows])
        start = 0
        for node in block:
            end = start + len(node.rows)
            totals[node.number] = vectors[start:end].sum(axis=0)
            start = end
    return totals


def _blocks(nodes: Iterable[Node]) -> Iterator[list[Node]]:
    block: list[Node] = []
    held = 0
    for node in nodes:
        block.append(node)
        held += len(node.rows)
        if held >= _BLOCK:
            yield block
            block, held = [], 0
    if block:
        yield block
