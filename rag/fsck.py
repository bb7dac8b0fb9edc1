"""Consistency check of a store: catalogue, lexical index, dense index, passage graph and tree.

The catalogue is the truth. What follows from something else in it (a passage's text from its
document, a facet from the metadata) or can be built from it (both indexes, the passage graph) is
repaired; a tree that is wrong is removed, since who wrote it may want to be asked before another is
built; a damaged document is named, so that it can be ingested again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hoptrail.rag.errors import StoreDamaged, TreeMismatch, TreeMissing
from hoptrail.rag.store.backends import Backends, open_backends
from hoptrail.rag.store.catalogue.audit import (
    Problem,
    audit_catalogue,
    expected_lexical,
    expected_vectors,
)
from hoptrail.rag.store.catalogue.database import (
    Connection,
    expanded,
    row_spans,
    snapshot,
    vectors_of,
)
from hoptrail.rag.store.catalogue.writes import writing
from hoptrail.rag.store.graph_index.audit import audit_links
from hoptrail.rag.store.layout import Layout, can_write, disk_errors
from hoptrail.rag.store.maintenance import rebuild
from hoptrail.rag.store.snapshot import load_generation
from hoptrail.rag.store.spec import StoreSpec, read_spec
from hoptrail.rag.store.types import Generation
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import LeafKind, Tree
from hoptrail.rag.types import Rows, Vectors

__all__ = ["FsckReport", "Problem", "fsck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FsckReport:
    """The result of a consistency check."""

    tenant: str
    documents: int
    passages: int
    generation: int
    problems: tuple[Problem, ...]
    """Problems that remain."""
    repaired: tuple[Problem, ...]
    """Problems that the repair removed."""

    @property
    def clean(self) -> bool:
        """Whether no problem remains."""
        return not self.problems


def fsck(
    root: Path, *, tenant: str = "default", repair: bool = False, wait: float = 30.0
) -> FsckReport:
    """Checks a store, and repairs what can be repaired if asked to.

    Holds the writer's lock: what it compares must not move. Readers go on. A store that can only
    be read is checked without it.

    Args:
        root: the folder of all tenants.
        tenant: which one.
        repair: repair what is derived; documents beyond repair are only named.
        wait: seconds to wait for a writer to finish.

    Raises:
        StoreMissing, StoreMismatch, StoreBusy: as for `Store.open`.
        StoreDamaged: the catalogue cannot be read at all.
    """
    layout = Layout(root=Path(root), tenant=tenant)
    with disk_errors(layout.folder):
        spec, _ = read_spec(layout, None)
        parts = open_backends(layout, spec)
        try:
            # What cannot be written does not move, and has no room for a lock.
            fixed = not repair and not can_write(layout.folder)
            with nullcontext() if fixed else parts.lock.held(wait):
                return _checked(parts, repair)
        finally:
            parts.close()


def _checked(parts: Backends, repair: bool) -> FsckReport:
    connection = parts.catalogue.connect()
    before = _problems(parts, connection)
    after = before
    if repair and before:
        _repair(parts, connection, before)
        after = _problems(parts, connection)
    with snapshot(connection):
        state = load_generation(connection)
        documents = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
    return FsckReport(
        tenant=parts.layout.tenant,
        documents=documents,
        passages=state.passages,
        generation=state.generation,
        problems=tuple(after),
        repaired=tuple(one for one in before if one not in after),
    )


def _problems(parts: Backends, connection: Connection) -> list[Problem]:
    with snapshot(connection):
        found = [one.problem for one in audit_catalogue(connection, parts.spec.dimension)]
        found += audit_links(connection, parts.spec.graph)
        state = load_generation(connection)
        pending = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        words = expected_lexical(connection) if parts.lexical.traits.persistent else {}
        vectors = expected_vectors(connection)
        found += audit_tree(parts.layout, connection, parts.spec, state)
    if pending:
        what = f"{pending} changes have not reached the dense index"
        found.append(Problem(kind="outbox", what=what, repairable=True))
    found += _index_problems("lexical", parts.lexical.lag(state), words, parts, state)
    found += _index_problems("dense", parts.dense.lag(state), vectors, parts, state)
    return found


def _index_problems(
    kind: Literal["lexical", "dense"],
    lag: str | None,
    expected: dict[int, int],
    parts: Backends,
    state: Generation,
) -> list[Problem]:
    """Compares an index with the catalogue: each live row once, with the right content."""
    if lag is not None:
        return [Problem(kind=kind, what=lag, repairable=True)]
    backend = parts.lexical if kind == "lexical" else parts.dense
    if not backend.traits.persistent:
        return []
    missing, twice, wrong = dict(expected), 0, 0
    for row, crc in backend.audit(state):
        if missing.pop(row, None) is None:
            twice += 1
        elif crc != expected[row]:
            wrong += 1
    return [
        Problem(kind=kind, what=f"{count} passages {what} the {kind} index", repairable=True)
        for count, what in (
            (len(missing), "are missing from"),
            (twice, "stand twice in"),
            (wrong, "stand with other content in"),
        )
        if count
    ]


def _repair(parts: Backends, connection: Connection, problems: Iterable[Problem]) -> None:
    kinds = {one.kind for one in problems}
    with writing(connection):
        for finding in list(audit_catalogue(connection, parts.spec.dimension)):
            for statement, values in finding.remedy:
                connection.execute(statement, values)
    if "tree" in kinds:
        TreeFile(parts.layout).delete()
    parts.dense.settle(connection)
    # A passage whose text was repaired is wrong in the lexical index as well.
    rebuild(
        parts,
        connection,
        lexical=bool(kinds & {"lexical", "passage", "facet", "orphan"}),
        # Without its vectors there is nothing to build it from.
        dense=bool(kinds & {"dense", "facet", "orphan"}) and "vector" not in kinds,
        graph=bool(kinds & {"graph", "passage", "orphan"}),
    )


_AGAIN = "a repair removes it, hoptrail tree build makes another"


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
