"""A tree that can be changed: insertion, overflow and underflow, as in B*- and R-trees.

1. Insert: a new leaf descends along the nearest centroids, with a beam, to the nearest last node.
2. Overflow: an overfull node is regrouped with its siblings (bottom-up) or split (top-down).
3. Underflow: a node that keeps less than a quarter of its fan-out gives its leaves to others.
4. Empty: a node without leaves and children is removed.
5. Single child: a node with one child takes over that child's children or leaves.
6. Too deep: the layers between a branch and its last nodes are built anew.
7. Stale text: each node counts the leaves that came and went; `update` rewrites its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.builders.bottom_up import last_nodes
from hoptrail.rag.tree.builders.clustering import bisect, capped_clusters, packed_clusters, units
from hoptrail.rag.tree.types import FANOUT, MOST_DEPTH, NO_PARENT, ROOT, Leaves, Node, Tree
from hoptrail.rag.types import Vectors


def surviving_nodes(
    nodes: Mapping[int, Collection[int]], groups: Sequence[Collection[int]]
) -> list[int | None]:
    """The old node that each new group of leaves continues, by most leaves in common.

    Args:
        nodes: by number, the leaves of each old node.
        groups: the same leaves, grouped anew; none is empty.

    Returns:
        For each group the node with which it shares more than half of its leaves and more than half
        of the node's, so no node comes twice; None where there is no such node.
    """
    homes = {row: number for number, rows in nodes.items() for row in rows}
    survivors: list[int | None] = []
    for group in groups:
        (number, shared), *_ = Counter(homes[row] for row in group).most_common(1)
        survivors.append(number if 2 * shared > max(len(group), len(nodes[number])) else None)
    return survivors


_BEAM = 32
"""Branches that a new leaf follows at once. Measured on MuSiQue, with a tree of which 30 % was
inserted later: 3 loses 3 of 100 supporting passages, 32 loses none."""
_LEAST_FILL = 4
"""A node that lost leaves keeps the others if they are 1 / _LEAST_FILL of its fan-out or more."""


class MutableTree:
    """A tree that is being changed."""

    def __init__(self, tree: Tree, leaves: Leaves) -> None:
        self._tree = tree
        self._leaves = leaves
        self._fanout = tree.spec.fanout
        self.touched: set[int] = set()
        """Numbers of nodes that are new or differ."""
        self.unwritten: set[int] = set()
        """Numbers of new nodes, which have no text yet."""
        self._nodes = dict(tree.nodes)
        self._totals = dict(tree.totals)
        self._next_number = tree.fresh
        self._centroids_of: dict[int, Vectors] = {}
        self._overfull: set[int] = set()

    def remove(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Removes leaves; returns the leaves of nodes with too few, to be inserted again."""
        if not len(rows):
            return rows
        gone = set(rows.tolist())
        changed = [node for node in self._nodes.values() if not gone.isdisjoint(node.rows)]
        loose: list[int] = []
        for node in changed:
            kept = tuple(row for row in node.rows if row not in gone)
            if node.number != ROOT and len(kept) * _LEAST_FILL < self._fanout:
                loose.extend(kept)
                kept = ()
            self._nodes[node.number] = replace(node, rows=kept)
            self._count(node.number, len(kept) - len(node.rows))
        self._update_totals()
        for node in changed:
            self._prune(node.number)
        return np.array(loose, dtype=np.int64)

    def insert(self, row: int, vector: NDArray[np.float32]) -> None:
        """Inserts one leaf below the nearest last node; `vector`: (dimension,), L2-normalised."""
        number = self._nearest_last_node(vector)
        node = self._nodes[number]
        self._nodes[number] = replace(node, rows=tuple(sorted((*node.rows, row))))
        self._count(number, 1)
        for above in self._path(number):
            self._totals[above] = self._totals[above] + vector
        if len(self._nodes[number].rows) > self._fanout:
            self._overfull.add(number)

    def done(self) -> Tree:
        """The changed tree, of the next generation; nodes of `unwritten` have no text."""
        for number in sorted(self._overfull):
            self._make_room(number)
        self._update_totals()
        self._flatten_deep()
        return replace(
            self._tree,
            nodes=self._nodes,
            totals=self._totals,
            reflects=self._leaves.generation,
            generation=self._tree.generation + 1,
            given=self._next_number,
        )

    def _nearest_last_node(self, vector: NDArray[np.float32]) -> int:
        """Number of the last node nearest to a vector; the root in a tree without leaves."""
        beam = [(0.0, ROOT)]
        while any(self._nodes[number].children for _, number in beam):
            reached: list[tuple[float, int]] = []
            for score, number in beam:
                children = self._nodes[number].children
                scores = (self._centroids(number) @ vector).tolist() if children else (score,)
                reached += zip(scores, children or (number,), strict=True)
            beam = sorted(reached, key=lambda one: (-one[0], one[1]))[:_BEAM]
        return beam[0][1]

    def _centroids(self, number: int) -> Vectors:
        """(children, dimension): the unit centroids of a node's children."""
        centroids = self._centroids_of.get(number)
        if centroids is None:
            totals = [self._totals[child] for child in self._nodes[number].children]
            centroids = self._centroids_of[number] = units(np.array(totals))
        return centroids

    def _make_room(self, number: int) -> None:
        """Regroups or splits a node if it is overfull, then checks its parent."""
        node = self._nodes.get(number)
        if node is None or len(node.children or node.rows) <= self._fanout:
            return
        if number == ROOT:
            number = self._add_layer()
        parent = self._nodes[number].parent
        if self._tree.spec.method == "bottom-up":
            self._regroup(number)
        else:
            for half in self._split(number):
                self._make_room(half)
        self._make_room(parent)

    def _regroup(self, number: int) -> None:
        """Groups the children of a node and its siblings anew; most groups keep a node's text."""
        like = self._nodes[number]
        here = self._nodes[like.parent].children
        siblings = [self._nodes[one] for one in here]
        below = {
            one.number: one.children or one.rows
            for one in siblings
            if bool(one.children) == bool(like.children)
        }
        groups = self._grouped(sorted(chain(*below.values())), like)
        old = surviving_nodes(below, groups)
        numbers = [self._new(like.parent) if one is None else one for one in old]
        for gone in below.keys() - set(numbers):
            self._remove_node(gone)
        for one, group in zip(numbers, groups, strict=True):
            if moved := group.symmetric_difference(below.get(one, ())):
                counts = [self._nodes[at].count if like.children else 1 for at in moved]
                self._changed(one, sum(counts))
                self._fill(one, sorted(group), like)
        new = sorted(set(numbers).difference(here))
        children = (*(one for one in here if one in self._nodes), *new)
        self._nodes[like.parent] = replace(self._nodes[like.parent], children=children)
        self._touch(like.parent)

    def _grouped(self, below: Sequence[int], like: Node) -> list[set[int]]:
        """Leaves or nodes, of the kind below `like`, in groups that each fit below one node."""
        spec = self._tree.spec
        if like.rows:
            rows = np.array(below, dtype=np.int64)
            return [set(group.tolist()) for group in last_nodes(rows, self._leaves, spec)]
        totals = np.array([self._totals[one] for one in below])
        groups = capped_clusters(totals.__getitem__, len(below), self._fanout, seed=spec.seed)
        return [{below[at] for at in group.tolist()} for group in groups]

    def _split(self, number: int) -> tuple[int, int]:
        """Splits a node in two; returns their numbers."""
        node = self._nodes[number]
        below = node.children or node.rows
        vectors = self._centroids(number) if node.children else self._leaves.vectors(below)
        one, two = sorted(bisect(vectors, self._tree.spec.seed), key=len)
        parent = self._nodes[self._nodes[number].parent]
        other = self._new(parent.number)
        self._changed(number, self._fill(other, [below[at] for at in one.tolist()], node))
        self._fill(number, [below[at] for at in two.tolist()], node)
        place = parent.children.index(number) + 1
        children = (*parent.children[:place], other, *parent.children[place:])
        self._nodes[parent.number] = replace(parent, children=children)
        self._touch(parent.number)
        return number, other

    def _changed(self, number: int, leaves: int) -> None:
        node = self._nodes[number]
        self._nodes[number] = replace(node, changed=node.changed + leaves)

    def _add_layer(self) -> int:
        """Inserts a node between the root and all below it; returns its number."""
        root = self._nodes[ROOT]
        number = self._new(ROOT)
        self._fill(number, root.children or root.rows, root)
        self._nodes[ROOT] = replace(root, children=(number,), rows=())
        self._touch(ROOT)
        return number

    def _new(self, parent: int) -> int:
        number = self._next_number
        self._next_number += 1
        self._nodes[number] = Node(number=number, parent=parent, text="", count=0)
        self.unwritten.add(number)
        return number

    def _fill(self, number: int, below: Sequence[int], like: Node) -> int:
        """Sets the children or leaves of a node (of the kind of `like`); returns its leaf count."""
        children, rows = (tuple(below), ()) if like.children else ((), tuple(sorted(below)))
        for child in children:
            self._nodes[child] = replace(self._nodes[child], parent=number)
            self.touched.add(child)
        count = sum(self._nodes[child].count for child in children) + len(rows)
        self._nodes[number] = replace(
            self._nodes[number], children=children, rows=rows, count=count
        )
        self._touch(number)
        self._totals[number] = self._total(number)
        return count

    def _prune(self, number: int) -> None:
        """Removes an empty node; replaces a node with a single child by that child."""
        node = self._nodes.get(number)
        if node is None:
            return
        if not node.children and not node.rows and number != ROOT:
            parent = self._nodes[node.parent]
            children = tuple(child for child in parent.children if child != number)
            self._nodes[parent.number] = replace(parent, children=children)
            self._remove_node(number)
            self._prune(parent.number)
        elif len(node.children) == 1:
            only = self._nodes[node.children[0]]
            self._fill(number, only.children or only.rows, only)
            self._remove_node(only.number)
            self._prune(number)

    def _flatten_deep(self) -> None:
        """Rebuilds the inner layers of branches whose last nodes are too deep."""
        if max(map(len, map(self._path, self._nodes))) <= MOST_DEPTH:
            return
        for number in list(self._nodes):
            if number in self._nodes and len(path := self._path(number)) > MOST_DEPTH:
                room = next((one for one in path[1:] if self._fits(one)), None)
                if room is None:
                    raise self._too_many_leaves()
                self._rebuild_layers(room)

    def _too_many_leaves(self) -> SettingsError:
        return SettingsError(
            f"A tree with at most {self._fanout} children of a node has no room for "
            f"{self._nodes[ROOT].count} leaves. Build it again with more: "
            f"hoptrail tree build --fanout {FANOUT}"
        )

    def _fits(self, number: int) -> bool:
        """Whether a node has room for its last nodes within the depth limit."""
        layers = MOST_DEPTH - len(self._path(number))
        return layers > 0 and len(self._last_nodes(number)) <= self._fanout**layers

    def _last_nodes(self, number: int) -> list[int]:
        """Numbers of the last nodes below a node, in order."""
        below = (self._nodes[one] for one in self._below(number))
        return [node.number for node in below if node.rows]

    def _below(self, number: int) -> Iterator[int]:
        yield number
        for child in self._nodes[number].children:
            yield from self._below(child)

    def _rebuild_layers(self, number: int) -> None:
        layer = self._last_nodes(number)
        # Children first, since removing a node touches its parent.
        for inner in list(self._below(number))[:0:-1]:
            if not self._nodes[inner].rows:
                self._remove_node(inner)
        while len(layer) > self._fanout:
            totals = np.array([self._totals[one] for one in layer])
            groups = packed_clusters(
                totals.__getitem__, len(layer), self._fanout, seed=self._tree.spec.seed
            )
            layer = [self._group([layer[at] for at in one.tolist()], number) for one in groups]
        self._fill(number, layer, self._nodes[number])

    def _group(self, below: Sequence[int], parent: int) -> int:
        """Number of a new node over others; a single one needs none and is returned."""
        if len(below) == 1:
            return below[0]
        number = self._new(parent)
        self._fill(number, below, self._nodes[parent])
        return number

    def _remove_node(self, number: int) -> None:
        self._touch(self._nodes[number].parent)
        for known in (self._nodes, self._totals, self._centroids_of):
            known.pop(number, None)
        self.touched.discard(number)
        self.unwritten.discard(number)

    def _count(self, number: int, change: int) -> None:
        """Adds a change of the leaf count to a last node and to all above it."""
        for above in self._path(number):
            node = self._nodes[above]
            changed = node.changed + abs(change) if above != ROOT else 0
            self._nodes[above] = replace(node, count=node.count + change, changed=changed)
            self._touch(above)

    def _touch(self, number: int) -> None:
        self.touched.add(number)
        self._centroids_of.pop(number, None)

    def _path(self, number: int) -> list[int]:
        """Numbers from a node up to the root, both included."""
        found = [number]
        while (parent := self._nodes[found[-1]].parent) != NO_PARENT:
            found.append(parent)
        return found

    def _update_totals(self) -> None:
        """Recomputes the totals of touched nodes, children before parents."""
        depths = {number: len(self._path(number)) for number in self.touched}
        for number in sorted(self.touched, key=lambda one: (-depths[one], one)):
            self._totals[number] = self._total(number)
        self._centroids_of.clear()

    def _total(self, number: int) -> NDArray[np.float32]:
        node = self._nodes[number]
        below: Iterable[NDArray[np.float32]]
        below = [self._totals[one] for one in node.children] or self._leaves.vectors(node.rows)
        vectors = np.array(below, dtype=np.float64).reshape(-1, self._tree.spec.dimension)
        total: NDArray[np.float32] = vectors.sum(axis=0).astype(np.float32)
        return total
