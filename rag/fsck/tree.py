"""Consistency check of the tree, and its repair: an extractive one is built again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hoptrail.rag.errors import StoreDamaged, StoreError, TreeMismatch, TreeMissing
from hoptrail.rag.store.catalogue.audit import Problem
from hoptrail.rag.store.catalogue.database import Connection, expanded, row_spans, vectors_of
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.spec import StoreSpec
from hoptrail.rag.store.store import Store
from hoptrail.rag.store.types import Generation
from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import LeafKind, Tree, TreeSpec
from hoptrail.rag.types import Rows, Vectors

_AGAIN = (
    "a repair builds one without a model again, and removes any other: hoptrail tree build makes "
    "another"
)


def audit_tree(
    layout: Layout, connection: Connection, spec: StoreSpec, state: Generation
) -> Iterator[Problem]:
    """The inconsistencies of the tree, if there is one; call it inside a transaction.

    A tree older than the store is no inconsistency, since `load_tree` brings it up to date; its
    leaves are not compared with the store's then.
    """
    try:
        tree = TreeFile(layout).load()
    except TreeMissing:
        return
    except (StoreDamaged, TreeMismatch) as error:
        yield _problem(str(error))
        return
    if (tree.spec.embedder, tree.spec.dimension) != (spec.embedder, spec.dimension):
        yield _problem(f"the tree is of another embedder, {tree.spec.embedder!r}: {_AGAIN}")
    elif tree.reflects > state.generation:
        yield _problem(f"the tree is of a later generation, {tree.reflects}: {_AGAIN}")
    else:
        yield from (
            _problem(f"the tree: {one}: {_AGAIN}") for one in _faults(tree, connection, state)
        )


def drop_tree(layout: Layout) -> TreeSpec | None:
    """Removes a damaged tree; returns how it was made if it can be built again for nothing."""
    file = TreeFile(layout)
    made = file.spec()
    file.delete()
    return None if made is None or made.model else made


def build_again(layout: Layout, made: TreeSpec) -> None:
    """Builds a tree without a model in place of one that was removed; the lock must be free.

    Leaves none where the store cannot be opened or the spec was damaged before it was sealed.
    """
    try:
        with Store.open(layout.root, tenant=layout.tenant) as store:
            own = (store.spec.embedder, store.spec.dimension)
            if (made.embedder, made.dimension) == own and made.fanout > 1:
                TreeFile(layout).save(build_tree(StoreLeaves(store, made.over), made))
    except StoreError:
        return


def _faults(tree: Tree, connection: Connection, state: Generation) -> list[str]:
    if tree.reflects < state.generation:
        return tree_faults(tree, [row for node in tree.nodes.values() for row in node.rows])
    rows = _leaves(connection, tree.spec.over).tolist()

    def vectors(some: Sequence[int]) -> Vectors:
        ordered = np.array(sorted(some), dtype=np.int64)
        return vectors_of(connection, ordered, tree.spec.dimension)

    # The means of documents would have to be taken of all their passages.
    known = vectors if tree.spec.over == "passages" else None
    try:
        return tree_faults(tree, rows, known)
    except StoreDamaged:
        # A vector is missing, which is a problem of its own.
        return tree_faults(tree, rows)


def _leaves(connection: Connection, over: LeafKind) -> Rows:
    spans = row_spans(connection)
    return spans[:, 0] if over == "documents" else expanded(spans)


def _problem(what: str) -> Problem:
    return Problem(kind="tree", what=what, repairable=True)
