"""The corpus tree as runs see it: opened when the first one asks, built where there is none.

A run searches one state of the tree: what `start` says of it has to be given back to `open`, so
that a store which moves on meanwhile changes nothing about the nodes that the run knows. While
`prepare` loads or builds a tree, searches of the one before go on: it holds no lock of theirs.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from hoptrail.agents.corpus.protocol import Stand, TreeStart
from hoptrail.agents.corpus.threads import given_up
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.interruptible import Interrupted
from hoptrail.rag.errors import StoreBusy, StoreReadOnly, TreeMissing
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.builders.build import build_tree, default_spec
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Opened
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import Tree
from hoptrail.rag.tree.view import TreeView, leaves_of, load_tree, open_view
from hoptrail.rag.types import Passage, Where

_VIEWS = 8
"""Trees under a filter that are kept in memory."""
_VECTORS = 512
"""Vectors of queries that are kept in memory."""


class Trees:
    """The tree of one store. May be shared by threads."""

    def __init__(self, store: Store, embedder: Embedder) -> None:
        self._store = store
        self._file = TreeFile(Layout(root=store.root, tenant=store.tenant))
        self._vector = lru_cache(maxsize=_VECTORS)(lambda text: embedder.embed([text], "query")[0])
        self._making = Lock()
        self._mutex = Lock()
        self._closed = False
        self._newest: tuple[Stand, Tree] | None = None
        self._views: OrderedDict[tuple[Stand, str], TreeView] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether a tree is in memory, be it of an earlier state of the store."""
        return self._newest is not None

    @property
    def over_documents(self) -> bool:
        """Whether the leaves of the tree in memory are documents."""
        return self._newest is not None and self._newest[1].spec.over == "documents"

    def exist(self) -> bool:
        """Whether the store has a tree, be it of an earlier state of its documents."""
        return self.ready or self._file.exists()

    def current(self) -> bool:
        """Whether the tree in memory is of the present state of the store."""
        return self._newest is not None and self._newest[0] == self._stand()

    def prepare(self) -> bool:
        """Loads the tree of now, or builds and keeps one; returns whether it had to be built.

        Raises:
            TreeMismatch: the tree is of another embedder, or of a later state of the store.
            StoreDamaged: its file cannot be read.
            StoreFull: there was none, and the new one cannot be kept.
        """
        with self._making:
            if self.current():
                return False
            stand, built = self._stand(), False
            try:
                tree = load_tree(self._store)
            except TreeMissing:
                tree, built = self._plant()
                stand = (tree.reflects, self._file.generation())
            self._newest = (stand, tree)
            return built

    def close(self) -> None:
        """Ends a build that is under way."""
        self._closed = True

    def start(
        self, query: str, found: Sequence[str], *, k: int, where: Where, built: bool = False
    ) -> TreeStart:
        """Opens the tree in memory; without one, that of `prepare`.

        Args:
            query: what is searched for.
            found: ids of the passages that cheap retrieval found, best first.
            k: how many of them point to where to begin.
            where: equality filter on metadata.
            built: what `prepare` returned, for the result.

        Raises:
            EmbedderError: the embedder failed.
        """
        stand, tree, made = self._present()
        view = self._view(stand, where, tree)
        rows = leaves_of(self._store.snapshot(), found, tree.spec.over) if found else []
        return TreeStart(
            stand=stand,
            nodes=len(tree.nodes),
            leaves=view.count(),
            seeds=view.seeds(self._vector(query), rows, k) if k else (),
            built=built or made,
        )

    def open(
        self, query: str, nodes: Sequence[int], *, stand: Stand, where: Where
    ) -> tuple[Opened, ...]:
        """Nodes with their visible children; empty ones for nodes that are gone."""
        view = self._known_view(stand, where)
        if view is None:  # pushed out by others, or the process began anew
            view = self._view(stand, where, self._present()[1])
        known = [number for number in nodes if number in view.tree.nodes]
        opened = {one.node: one for one in view.open(self._vector(query), known)}
        return tuple(opened.get(number, Opened(node=number, items=())) for number in nodes)

    def passages(self, query: str, leaves: Sequence[int]) -> tuple[Passage | None, ...]:
        """The passage that stands for each leaf; of a document the one most like the query."""
        first = self._store.resolve(leaves)
        if not self.over_documents:
            return first
        return tuple(one and self._most_like(query, one) for one in first)

    def _most_like(self, query: str, first: Passage) -> Passage:
        snapshot = self._store.snapshot()
        passages = self._store.passages_of(first.document_id)
        rows, _ = snapshot.places([one.id for one in passages])
        if not len(rows) or (rows < 0).any():
            return first  # it was replaced this moment
        likeness: NDArray[np.float32] = snapshot.vectors(rows) @ self._vector(query)
        return passages[int(likeness.argmax())]

    def _stand(self) -> Stand:
        return self._store.generation, self._file.generation()

    def _present(self) -> tuple[Stand, Tree, bool]:
        """The tree in memory, its state, and whether it was built for this call."""
        built = self.prepare() if self._newest is None else False
        assert self._newest is not None
        return *self._newest, built

    def _plant(self) -> tuple[Tree, bool]:
        leaves = StoreLeaves(self._store)
        spec = default_spec(leaves, self._store.spec.embedder)
        try:
            with self._file.building():
                if self._file.exists():  # somebody was quicker
                    return load_tree(self._store), False
                return self._file.save(build_tree(leaves, spec, self._go_on)), True
        except (StoreBusy, StoreReadOnly):
            # It cannot be kept, or somebody builds a better one, perhaps for hours: this one does.
            return build_tree(leaves, spec, self._go_on), True

    def _go_on(self, _done: int, _total: int) -> None:
        """Called again and again by a build."""
        if self._closed or given_up():
            raise Interrupted

    def _known_view(self, stand: Stand, where: Where) -> TreeView | None:
        with self._mutex:
            key = (stand, _key(where))
            if key in self._views:
                self._views.move_to_end(key)
            return self._views.get(key)

    def _view(self, stand: Stand, where: Where, tree: Tree) -> TreeView:
        view = self._known_view(stand, where)
        if view is None:
            # Outside the lock: two who need the same one at once both make it.
            view = open_view(self._store, tree, where)
            with self._mutex:
                self._views[stand, _key(where)] = view
                while len(self._views) > _VIEWS:
                    self._views.popitem(last=False)
        return view


def _key(where: Where) -> str:
    # As JSON, in which true and 1 differ.
    return json.dumps(sorted(where.items()))
