"""A tree under a filter, as one search sees it: visible leaves, counts and similarities.

Leaves that the filter hides or that the store no longer has are invisible, and so are branches that
have no other leaves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import StoreBusy, TreeMismatch
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.snapshot import Snapshot
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Item, Opened, Ref, Seed
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import LeafKind, Leaves, Tree, TreeChange
from hoptrail.rag.tree.update import sync_tree
from hoptrail.rag.types import EVERYTHING, Rows, Where

_RANKS = 60
"""The constant of reciprocal rank (`rag.retrieval.fusion`)."""
_DIGITS = 6
_ATTEMPTS = 5

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """A tree's leaves in depth-first order: the leaves below a node are adjacent."""

    rows: Rows
    spans: dict[int, tuple[int, int]]
    """By node number: start and end of its leaves in `rows`."""
    places: dict[int, int]
    """By leaf: the number of its last node."""


class TreeView:
    """A tree and its visible leaves; may be shared by threads if the leaves may."""

    __slots__ = ("_leaves", "_order", "_seen", "_visible", "tree")

    def __init__(self, tree: Tree, leaves: Leaves) -> None:
        """Makes all leaves visible that are both in the tree and among `leaves`."""
        self.tree = tree
        self._leaves = leaves
        self._order = _ordered(tree)
        self._keep(np.isin(self._order.rows, leaves.rows()))

    def under(self, kept: Rows) -> TreeView:
        """The view with fewer visible leaves.

        Args:
            kept: rows that a filter keeps (`Snapshot.rows`); rows that are no leaves are ignored.
        """
        view = object.__new__(TreeView)
        view.tree, view._leaves, view._order = self.tree, self._leaves, self._order
        view._keep(self._visible & np.isin(self._order.rows, kept))
        return view

    def _keep(self, visible: NDArray[np.bool_]) -> None:
        self._visible = visible
        self._seen = np.concatenate(([0], np.cumsum(self._visible)))

    def count(self, number: int = 0) -> int:
        """Number of visible leaves below a node."""
        start, end = self._order.spans[number]
        return int(self._seen[end] - self._seen[start])

    def open(self, vector: Vector, numbers: Sequence[int]) -> tuple[Opened, ...]:
        """The visible children of nodes, in their order; a node with none comes back empty.

        Args:
            vector: the query's vector, (dimension,) float32, L2-normalised.
            numbers: numbers of inner nodes.

        Raises:
            KeyError: a number that no node has.
        """
        return tuple(
            Opened(
                node=number,
                items=self._inner(vector, children)
                if (children := self.tree.nodes[number].children)
                else self._last(vector, number),
            )
            for number in numbers
        )

    def seeds(self, vector: Vector, rows: Iterable[int], k: int = 10) -> tuple[Seed, ...]:
        """The last nodes above the leaves that an ordinary search found, best first.

        A node's prior is the sum of 1 / (60 + rank) over its leaves, divided by that of the best.

        Args:
            vector: as of `open`.
            rows: leaves, best first, each counted once; invisible ones are skipped.
            k: number of visible leaves that count.
        """
        found: dict[int, list[int]] = {}
        scores: dict[int, float] = {}
        visible = (row for row in dict.fromkeys(rows) if self._is_visible(row))
        for rank, row in zip(range(1, k + 1), visible, strict=False):
            node = self._order.places[row]
            found.setdefault(node, []).append(row)
            scores[node] = scores.get(node, 0.0) + 1 / (_RANKS + rank)
        top = max(scores.values(), default=1.0)
        # Python's sort is stable: of equal nodes the one found first comes first.
        nodes = sorted(scores, key=lambda node: -scores[node])
        similarities = self._similarities(vector, nodes)
        return tuple(
            Seed(
                path=self.tree.path(node),
                rows=tuple(found[node]),
                prior=scores[node] / top,
                likeness=likeness,
            )
            for node, likeness in zip(nodes, similarities, strict=True)
        )

    def _is_visible(self, row: int) -> bool:
        node = self._order.places.get(row)
        if node is None:
            return False
        start, _ = self._order.spans[node]
        return bool(self._visible[start + self.tree.nodes[node].rows.index(row)])

    def _inner(self, vector: Vector, children: Sequence[int]) -> tuple[Item, ...]:
        shown = [child for child in children if self.count(child)]
        return tuple(
            Item(
                ref=Ref(leaf=False, number=child),
                text=self.tree.nodes[child].text,
                count=self.count(child),
                likeness=likeness,
            )
            for child, likeness in zip(shown, self._similarities(vector, shown), strict=True)
        )

    def _last(self, vector: Vector, number: int) -> tuple[Item, ...]:
        start, end = self._order.spans[number]
        rows = self._order.rows[start:end][self._visible[start:end]]
        if not len(rows):
            return ()
        products = self._leaves.vectors(rows).astype(np.float64) @ vector
        similarities = np.round(products, _DIGITS).tolist()
        lines = zip(rows.tolist(), self._leaves.texts(rows), similarities, strict=True)
        return tuple(
            Item(ref=Ref(leaf=True, number=row), text=text, count=1, likeness=likeness)
            for row, text, likeness in lines
            if text
        )

    def _similarities(self, vector: Vector, numbers: Sequence[int]) -> list[float]:
        """The cosine of a vector to the mean of each node's leaves, hidden ones included."""
        if not numbers:
            return []
        totals = np.array([self.tree.totals[one] for one in numbers], dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(totals, axis=1), 1e-9)
        # Rounded, since a product's last digits depend on where a row lies.
        found: list[float] = np.round(totals @ vector / lengths, _DIGITS).tolist()
        return found


def load_tree(store: Store) -> Tree:
    """Loads the tree of a store, brought up to the present generation.

    Changes since the tree was saved are applied in memory only (`sync_stored_tree` saves them).

    Raises:
        TreeMissing: there is none.
        TreeMismatch: it is of another embedder, or of a later state of the store.
        StoreDamaged: its file cannot be read.
    """
    tree = _file(store).load()
    return _synced(store, tree).tree


def sync_stored_tree(store: Store) -> TreeChange | None:
    """Brings the saved tree of a store up to date; None if there is no tree.

    Raises:
        TreeMismatch, StoreDamaged: as for `load_tree`.
        StoreBusy, StoreFull: the tree could not be written; the one before is still there.
    """
    file = _file(store)
    for _ in range(_ATTEMPTS):
        if not file.exists():
            return None
        change = _synced(store, file.load())
        if change.before == change.tree.generation or file.grow(change):
            return change
    raise StoreBusy(
        f"Another process keeps changing the tree {str(file.path)!r}: run the command again."
    )


def open_view(store: Store, tree: Tree, where: Where = EVERYTHING) -> TreeView:
    """Opens a tree of `load_tree` under a filter."""
    view = TreeView(tree, StoreLeaves(store, tree.spec.over))
    return view.under(store.snapshot().rows(where)) if where else view


def leaves_of(snapshot: Snapshot, passages: Sequence[str], over: LeafKind) -> list[int]:
    """The leaves of passages given by id, in their order; -1 for an unknown passage."""
    rows, documents = snapshot.places(passages)
    found: list[int] = (rows if over == "passages" else documents).tolist()
    return found


def _ordered(tree: Tree) -> _Order:
    rows: list[int] = []
    spans: dict[int, tuple[int, int]] = {}
    places: dict[int, int] = {}
    walk = list(tree.walk())
    for node in walk:
        # A walk meets all that is below a node right after it.
        spans[node.number] = (len(rows), len(rows) + node.count)
        rows.extend(node.rows)
        places.update(dict.fromkeys(node.rows, node.number))
    return _Order(rows=np.array(rows, dtype=np.int64), spans=spans, places=places)


def _synced(store: Store, tree: Tree) -> TreeChange:
    made, spec = tree.spec, store.spec
    if (made.embedder, made.dimension) != (spec.embedder, spec.dimension):
        raise TreeMismatch(
            f"The tree of the store at {str(store.root)!r} was made with the embedder "
            f"{made.embedder!r} ({made.dimension} dimensions), the store with {spec.embedder!r} "
            f"({spec.dimension}). Build it again: hoptrail tree build --store {store.root}"
        )
    leaves = StoreLeaves(store, made.over)
    if leaves.generation < tree.reflects:
        raise TreeMismatch(
            f"The tree of the store at {str(store.root)!r} is of its generation {tree.reflects}, "
            f"and the store has {leaves.generation} only: an older copy was put back. Build the "
            f"tree again: hoptrail tree build --store {store.root}"
        )
    return sync_tree(tree, leaves)


def _file(store: Store) -> TreeFile:
    return TreeFile(Layout(root=store.root, tenant=store.tenant))
