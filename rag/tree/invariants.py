"""Invariants of a tree, whatever built or changed it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.types import MOST_DEPTH, NO_PARENT, ROOT, Node, Tree
from hoptrail.rag.types import Vectors

_MOST_LISTED = 20
"""Faults of one kind that are listed; a damaged file could have one for every leaf."""


def tree_faults(
    tree: Tree,
    rows: Iterable[int],
    vectors: Callable[[Sequence[int]], Vectors] | None = None,
) -> list[str]:
    """The invariants that a tree over the leaves `rows` breaks; empty: none.

    Args:
        tree: the tree.
        rows: the leaves that the tree should have.
        vectors: as `Leaves.vectors`; with it the totals of the last nodes are checked too.
    """
    if ROOT not in tree.nodes:
        return ["there is no root"]
    found = [*_shape(tree), *_leaves(tree, rows)]
    # Sums over children that are missing or stand in a circle would only raise.
    return found or [*_depths(tree), *_counts(tree), *_totals(tree, vectors)]


def _shape(tree: Tree) -> Iterator[str]:
    """Faults of single nodes, and of parents, children and reachability."""
    if tree.nodes[ROOT].parent != NO_PARENT:
        yield f"the root has the parent {tree.nodes[ROOT].parent}"
    for number, node in tree.nodes.items():
        if node.number != number:
            yield f"node {number} calls itself {node.number}"
        yield from _node(node, tree.spec.fanout)
        for child in node.children:
            if child not in tree.nodes:
                yield f"node {number} has the child {child}, which is not there"
            elif tree.nodes[child].parent != number:
                yield f"node {child} stands below {number} but has the parent " + str(
                    tree.nodes[child].parent
                )
    lost = tree.nodes.keys() - _reached(tree)
    yield from (f"node {number} cannot be reached from the root" for number in _some(lost))
    if tree.totals.keys() != tree.nodes.keys():
        yield "nodes and totals do not have the same numbers"


def _node(node: Node, fanout: int) -> Iterator[str]:
    if node.children and node.rows:
        yield f"node {node.number} has inner nodes and leaves"
    width = len(node.children) + len(node.rows)
    if width > fanout:
        yield f"node {node.number} has {width} children, more than {fanout}"
    if node.number == ROOT:
        if node.text:
            yield f"the root has the text {node.text!r}"
        return
    if width == 0:
        yield f"node {node.number} is empty"
    if not node.text.strip():
        yield f"node {node.number} has no text"


def _reached(tree: Tree) -> set[int]:
    seen, waiting = {ROOT}, [ROOT]
    while waiting:
        node = tree.nodes[waiting.pop()]
        new = [child for child in node.children if child in tree.nodes and child not in seen]
        seen.update(new)
        waiting.extend(new)
    return seen


def _leaves(tree: Tree, rows: Iterable[int]) -> Iterator[str]:
    wanted = set(rows)
    standing = Counter(row for node in tree.nodes.values() for row in node.rows)
    yield from (f"row {row} is in no leaf" for row in _some(wanted - standing.keys()))
    yield from (f"row {row} should not be there" for row in _some(standing.keys() - wanted))
    twice = (row for row, times in standing.items() if times > 1)
    yield from (f"row {row} is in {standing[row]} leaves" for row in _some(twice))


def _depths(tree: Tree) -> Iterator[str]:
    for node in tree.walk():
        below = 1 if node.rows else 0
        if tree.depth(node.number) + below > MOST_DEPTH:
            yield f"node {node.number} stands too deep: {tree.depth(node.number)} below the root"


def _counts(tree: Tree) -> Iterator[str]:
    for node in tree.nodes.values():
        count = len(node.rows) + sum(tree.nodes[child].count for child in node.children)
        if node.count != count:
            yield f"node {node.number} counts {node.count} leaves and has {count}"
        if node.changed < 0:
            yield f"node {node.number} has changed {node.changed} times"


def _totals(tree: Tree, vectors: Callable[[Sequence[int]], Vectors] | None) -> Iterator[str]:
    for number, node in tree.nodes.items():
        total = tree.totals[number]
        if total.dtype != np.float32 or total.shape != (tree.spec.dimension,):
            yield f"the total of node {number} is {total.dtype} {total.shape}"
            continue
        if node.children:
            below = np.array([tree.totals[child] for child in node.children])
        elif vectors is not None:
            below = vectors(node.rows)
        else:
            continue
        if not _close(total, below, node.count):
            yield f"the total of node {number} is not the sum of what is below it"


def _close(total: NDArray[np.float32], below: Vectors, count: int) -> bool:
    # Leaves that came and went leave their rounding behind.
    return bool(np.allclose(total, below.sum(axis=0), rtol=1e-4, atol=1e-3 + 1e-5 * count))


def _some(numbers: Iterable[int]) -> list[int]:
    return sorted(numbers)[:_MOST_LISTED]
