"""Keeps a tree true to its store: leaves come and go, and nothing is built anew.

A new leaf descends by centroid, three branches at a time, to the last node nearest to it. A node
that is overfull is split by 2-means, and so are those above it while they are overfull; when the
root is, the tree grows by a layer. A node with few leaves left gives them to others, one without
any disappears, and one with a single child takes its place. (The insertions of R-trees and
B-trees; that the texts above are written again once a fifth below has changed is from the plan of
LATTICE's weaknesses, `methods.md` §1.10.)

Sums are taken anew from what is below wherever something changed, so no rounding adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.types import NOBODY, ROOT, Growth, Leaves, Node, Tree
from hoptrail.rag.types import Vectors

Tell = Callable[[Tree, Sequence[int], Leaves], Mapping[int, str]]
"""Writes texts without a model: of the nodes by number."""

STALE = 0.2
"""The share of a node's leaves that may have changed before its text is written again."""
_BEAM = 3
_ROUNDS = 8
_BLOCK = 4096
_FEW = 4
"""A node that has lost leaves keeps what is left if that is at least 1 / _FEW of its fan-out."""


def beginnings(tree: Tree, numbers: Sequence[int], leaves: Leaves) -> dict[int, str]:
    """The first line of each node's first leaf."""
    texts = {}
    for number in numbers:
        first = next(node.rows for node in tree.walk(number) if node.rows)[:1]
        texts[number] = leaves.texts(first)[0].strip().partition("\n")[0] or "untitled"
    return texts


def caught_up(tree: Tree, leaves: Leaves, tell: Tell = beginnings) -> Growth:
    """The tree with exactly the given leaves.

    Args:
        tree: of any earlier state of the same store.
        leaves: what is to stand in it.
        tell: writes the texts of nodes that are new, and, in a tree that no model wrote, of those
            that are stale.

    Returns:
        The new tree, of the next generation; the same one if no leaf came or went.
    """
    rows, held = leaves.rows(), _held(tree)
    new, gone = np.setdiff1d(rows, held), np.setdiff1d(held, rows)
    if not len(new) and not len(gone):
        same = replace(tree, reflects=leaves.generation)
        return Growth(tree=same, before=tree.generation, touched=frozenset(), gone=frozenset())
    draft = _Draft(tree, leaves)
    loose = draft.remove(gone)
    coming = np.union1d(new, loose)
    for at in range(0, len(coming), _BLOCK):
        some = coming[at : at + _BLOCK]
        for row, vector in zip(some.tolist(), leaves.vectors(some), strict=True):
            draft.insert(row, vector)
    return draft.done(tell)


def stale(tree: Tree) -> tuple[int, ...]:
    """The nodes whose text no longer says what is below them, those below before those above."""
    found = [
        node.number
        for node in tree.walk()
        if node.number != ROOT and node.changed > STALE * node.count
    ]
    return tuple(reversed(found))


def retold(tree: Tree, texts: Mapping[int, str]) -> Growth:
    """The tree with other texts, which are of now."""
    nodes = dict(tree.nodes)
    for number, text in texts.items():
        nodes[number] = replace(nodes[number], text=text, changed=0)
    return Growth(
        tree=replace(tree, nodes=nodes, generation=tree.generation + bool(texts)),
        before=tree.generation,
        touched=frozenset(texts),
        gone=frozenset(),
    )


def halved(vectors: Vectors, least: int) -> NDArray[np.bool_]:
    """Two groups by spherical 2-means from the two that are least alike.

    Args:
        vectors: (n, dimension), L2-normalised, n >= 2.
        least: members of each group at least, 1..n // 2.

    Returns:
        (n,): which are in the first.
    """
    alike = vectors @ vectors.T
    centres = vectors[list(np.unravel_index(np.argmin(alike), alike.shape))]
    first = np.zeros(len(vectors), dtype=np.bool_)
    for _ in range(_ROUNDS):
        margins = vectors @ (centres[0] - centres[1])
        wished = np.count_nonzero(margins > 0) if margins.any() else len(vectors) // 2
        before = first
        first = np.zeros(len(vectors), dtype=np.bool_)
        first[np.argsort(-margins, kind="stable")[: np.clip(wished, least, len(first) - least)]] = 1
        if np.array_equal(first, before):
            break
        centres = _units(np.array([vectors[first].sum(axis=0), vectors[~first].sum(axis=0)]))
    return first


class _Draft:
    """A tree while it changes."""

    def __init__(self, tree: Tree, leaves: Leaves) -> None:
        self._tree = tree
        self._leaves = leaves
        self._fanout = tree.spec.fanout
        self._nodes = dict(tree.nodes)
        self._totals = dict(tree.totals)
        self._fresh = tree.fresh
        self._touched: set[int] = set()
        self._untold: set[int] = set()
        self._fans: dict[int, Vectors] = {}

    def remove(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Takes leaves out; returns those that have to be inserted again."""
        if not len(rows):
            return rows
        gone = set(rows.tolist())
        homes = [node for node in self._nodes.values() if not gone.isdisjoint(node.rows)]
        loose: list[int] = []
        for node in homes:
            kept = tuple(row for row in node.rows if row not in gone)
            if node.number != ROOT and len(kept) * _FEW < self._fanout:
                loose.extend(kept)
                kept = ()
            self._nodes[node.number] = replace(node, rows=kept)
            self._count(node.number, len(kept) - len(node.rows))
        self._settle()
        for node in homes:
            self._prune(node.number)
        return np.array(loose, dtype=np.int64)

    def insert(self, row: int, vector: NDArray[np.float32]) -> None:
        """Hangs one leaf below the last node nearest to it."""
        number = self._home(vector)
        node = self._nodes[number]
        self._nodes[number] = replace(node, rows=tuple(sorted((*node.rows, row))))
        self._count(number, 1)
        for above in self._path(number):
            self._totals[above] = self._totals[above] + vector
        if len(node.rows) + 1 > self._fanout:
            self._split(number)

    def done(self, tell: Tell) -> Growth:
        """What became of it, with texts."""
        self._settle()
        return self._told(self._result(), tell)

    def _told(self, tree: Tree, tell: Tell) -> Growth:
        written = bool(tree.spec.model)
        wanted = set(self._untold) if written else {*self._untold, *stale(tree)}
        nodes = dict(tree.nodes)
        for number, text in tell(tree, sorted(wanted), self._leaves).items():
            # What a model has not written in a tree of a model's is stale from the first.
            changed = nodes[number].count if written else 0
            nodes[number] = replace(nodes[number], text=text, changed=changed)
        touched = {
            number
            for number, node in nodes.items()
            if number in self._touched or node is not self._tree.nodes.get(number)
        }
        return Growth(
            tree=replace(tree, nodes=nodes),
            before=self._tree.generation,
            touched=frozenset(touched),
            gone=frozenset(self._tree.nodes.keys() - nodes.keys()),
        )

    def _result(self) -> Tree:
        return replace(
            self._tree,
            nodes=self._nodes,
            totals=self._totals,
            reflects=self._leaves.generation,
            generation=self._tree.generation + 1,
            given=self._fresh,
        )

    def _home(self, vector: NDArray[np.float32]) -> int:
        """The last node nearest to a vector, or the root of a tree without leaves."""
        beam = [(0.0, ROOT)]
        while any(self._nodes[number].children for _, number in beam):
            reached: list[tuple[float, int]] = []
            for score, number in beam:
                children = self._nodes[number].children
                scores = (self._fan(number) @ vector).tolist() if children else (score,)
                reached += zip(scores, children or (number,), strict=True)
            beam = sorted(reached, key=lambda one: (-one[0], one[1]))[:_BEAM]
        return beam[0][1]

    def _fan(self, number: int) -> Vectors:
        """The directions of a node's children."""
        fan = self._fans.get(number)
        if fan is None:
            fan = _units(np.array([self._totals[one] for one in self._nodes[number].children]))
            self._fans[number] = fan
        return fan

    def _split(self, number: int) -> None:
        """Makes two of an overfull node, and of those above that are overfull by it."""
        if number == ROOT:
            number = self._lowered()
        node = self._nodes[number]
        below = node.children or node.rows
        vectors = self._fan(number) if node.children else self._leaves.vectors(below)
        first = halved(vectors, max(1, len(below) // _FEW))
        if np.count_nonzero(first) * 2 < len(first):
            first = ~first
        stays = tuple(one for one, here in zip(below, first.tolist(), strict=True) if here)
        leaves = tuple(one for one, here in zip(below, first.tolist(), strict=True) if not here)
        other = self._new(node.parent)
        moved = self._fill(other, leaves, inner=bool(node.children))
        self._fill(number, stays, inner=bool(node.children))
        kept = self._nodes[number]
        self._nodes[number] = replace(kept, changed=kept.changed + moved)
        parent = self._nodes[node.parent]
        place = parent.children.index(number) + 1
        children = (*parent.children[:place], other, *parent.children[place:])
        self._nodes[parent.number] = replace(parent, children=children)
        self._touch(parent.number)
        if len(children) > self._fanout:
            self._split(parent.number)

    def _lowered(self) -> int:
        """Puts a layer between the root and what is below it; returns the new node."""
        root = self._nodes[ROOT]
        number = self._new(ROOT)
        self._fill(number, root.children or root.rows, inner=bool(root.children))
        self._nodes[ROOT] = replace(root, children=(number,), rows=())
        self._touch(ROOT)
        return number

    def _new(self, parent: int) -> int:
        number = self._fresh
        self._fresh += 1
        self._nodes[number] = Node(number=number, parent=parent, text="", count=0)
        self._untold.add(number)
        return number

    def _fill(self, number: int, below: Sequence[int], *, inner: bool) -> int:
        """Gives a node other children or leaves, and their sums; returns how many leaves."""
        children, rows = (tuple(below), ()) if inner else ((), tuple(below))
        for child in children:
            self._nodes[child] = replace(self._nodes[child], parent=number)
            self._touched.add(child)
        count = sum(self._nodes[child].count for child in children) + len(rows)
        self._nodes[number] = replace(
            self._nodes[number], children=children, rows=rows, count=count
        )
        self._touch(number)
        self._totals[number] = self._total(number)
        return count

    def _prune(self, number: int) -> None:
        """Takes an empty node away; one with a single child takes over what is below that."""
        node = self._nodes.get(number)
        if node is None:
            return
        if not node.children and not node.rows and number != ROOT:
            parent = self._nodes[node.parent]
            children = tuple(child for child in parent.children if child != number)
            self._nodes[parent.number] = replace(parent, children=children)
            self._forget(number)
            self._prune(parent.number)
        elif len(node.children) == 1:
            only = self._nodes[node.children[0]]
            self._fill(number, only.children or only.rows, inner=bool(only.children))
            self._forget(only.number)
            self._prune(number)

    def _forget(self, number: int) -> None:
        self._touch(self._nodes[number].parent)
        for known in (self._nodes, self._totals, self._fans):
            known.pop(number, None)
        self._touched.discard(number)
        self._untold.discard(number)

    def _count(self, number: int, change: int) -> None:
        """Notes that leaves came to a last node, or went."""
        for above in self._path(number):
            node = self._nodes[above]
            changed = node.changed + abs(change) if above != ROOT else 0
            self._nodes[above] = replace(node, count=node.count + change, changed=changed)
            self._touch(above)

    def _touch(self, number: int) -> None:
        self._touched.add(number)
        self._fans.pop(number, None)

    def _path(self, number: int) -> list[int]:
        """From a node up to the root."""
        found = [number]
        while (parent := self._nodes[found[-1]].parent) != NOBODY:
            found.append(parent)
        return found

    def _settle(self) -> None:
        """Takes the sums of what was touched anew, those below before those above."""
        depths = {number: len(self._path(number)) for number in self._touched}
        for number in sorted(self._touched, key=lambda one: (-depths[one], one)):
            self._totals[number] = self._total(number)
        self._fans.clear()

    def _total(self, number: int) -> NDArray[np.float32]:
        node = self._nodes[number]
        below: Iterable[NDArray[np.float32]]
        below = [self._totals[one] for one in node.children] or self._leaves.vectors(node.rows)
        vectors = np.array(below, dtype=np.float64).reshape(-1, self._tree.spec.dimension)
        total: NDArray[np.float32] = vectors.sum(axis=0).astype(np.float32)
        return total


def _held(tree: Tree) -> NDArray[np.int64]:
    rows = [row for node in tree.nodes.values() for row in node.rows]
    return np.array(rows, dtype=np.int64)


def _units(vectors: NDArray[np.float32]) -> Vectors:
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
    units: Vectors = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return units
