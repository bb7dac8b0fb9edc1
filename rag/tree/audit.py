"""The tree's file checked against itself and against the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hoptrail.rag.errors import StoreDamaged, TreeMismatch, TreeMissing
from hoptrail.rag.store.catalogue.audit import Problem
from hoptrail.rag.store.catalogue.database import Connection, expanded, row_spans, vectors_of
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.spec import StoreSpec
from hoptrail.rag.store.types import State
from hoptrail.rag.tree.check import faults
from hoptrail.rag.tree.keep import TreeFile
from hoptrail.rag.tree.types import Over, Tree
from hoptrail.rag.types import Rows, Vectors

_AGAIN = "a repair removes it, hoptrail tree build makes another"


def audit_tree(
    layout: Layout, connection: Connection, spec: StoreSpec, state: State
) -> Iterator[Problem]:
    """Everything wrong with the tree, if there is one; call it inside a transaction.

    One that is older than the store is not wrong: whoever opens it takes up what is missing. Its
    leaves cannot be compared with the store's then.
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


def _faults(tree: Tree, connection: Connection, state: State) -> list[str]:
    if tree.reflects < state.generation:
        return faults(tree, [row for node in tree.nodes.values() for row in node.rows])
    rows = _leaves(connection, tree.spec.over).tolist()

    def vectors(some: Sequence[int]) -> Vectors:
        ordered = np.array(sorted(some), dtype=np.int64)
        return vectors_of(connection, ordered, tree.spec.dimension)

    # The means of documents would have to be taken of all their passages.
    known = vectors if tree.spec.over == "passages" else None
    try:
        return faults(tree, rows, known)
    except StoreDamaged:
        # A vector is missing, which is a problem of its own.
        return faults(tree, rows)


def _leaves(connection: Connection, over: Over) -> Rows:
    spans = row_spans(connection)
    return spans[:, 0] if over == "documents" else expanded(spans)


def _problem(what: str) -> Problem:
    return Problem(kind="tree", what=what, repairable=True)
