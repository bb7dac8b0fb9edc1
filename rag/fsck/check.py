"""What a consistency check finds: the catalogue's file, its content, and all that is derived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.fsck.tree import audit_tree
from hoptrail.rag.store.backends import Backends
from hoptrail.rag.store.catalogue.audit import (
    Problem,
    audit_catalogue,
    expected_lexical,
    expected_vectors,
)
from hoptrail.rag.store.catalogue.database import Connection, meta, snapshot
from hoptrail.rag.store.catalogue.manifest import ManifestDamaged, lost_commits, read_manifest
from hoptrail.rag.store.catalogue.salvage import READ_ERRORS, structural_faults
from hoptrail.rag.store.graph_index.audit import audit_links
from hoptrail.rag.store.graph_index.triple_crcs import damaged_rows
from hoptrail.rag.store.layout import is_index_failure
from hoptrail.rag.store.maintenance import index_fault
from hoptrail.rag.store.snapshot import load_generation
from hoptrail.rag.store.types import Generation


def find_problems(parts: Backends, connection: Connection) -> list[Problem]:
    """All problems of a store; the writer's lock must be held.

    Where the catalogue's file itself is damaged, nothing else is looked at.
    """
    faults = structural_faults(connection)
    if faults:
        return [
            Problem(
                kind="catalogue",
                what=f"SQLite finds {one!r}; a repair keeps what can be read, and names the rest",
                repairable=True,
            )
            for one in faults
        ]
    try:
        with snapshot(connection):
            return [*_copy(parts, connection), *_content(parts, connection)]
    except READ_ERRORS as error:
        what = f"SQLite cannot read the catalogue ({error}); a repair keeps what can be read"
        return [Problem(kind="catalogue", what=what, repairable=True)]


def _copy(parts: Backends, connection: Connection) -> Iterator[Problem]:
    """What the copy of the settings says of the catalogue, and of itself."""
    try:
        read_manifest(parts.layout.folder)
    except ManifestDamaged as error:
        yield Problem(kind="catalogue", what=str(error), repairable=True)
    lost = lost_commits(parts.layout.folder, meta(connection))
    if lost:
        what = (
            f"the last {lost} commits are lost (the write-ahead log is damaged, or an older "
            "catalogue was put back): ingest again what was ingested last"
        )
        yield Problem(kind="catalogue", what=what, repairable=False)


def _content(parts: Backends, connection: Connection) -> list[Problem]:
    found = [one.problem for one in audit_catalogue(connection, parts.spec.dimension)]
    try:
        for one in _derived(parts, connection):
            found.append(one)
    except (TypeError, ValueError, AttributeError, OverflowError, StoreDamaged):
        # What is derived from cells of a wrong type cannot be told; they have been named.
        if not found:
            raise
    return found


def _derived(parts: Backends, connection: Connection) -> Iterator[Problem]:
    if parts.spec.graph != "none":
        yield from _triples(connection)
    yield from audit_links(connection, parts.spec.graph)
    pending = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
    if pending:
        what = f"{pending} changes have not reached the dense index"
        yield Problem(kind="outbox", what=what, repairable=True)
    try:
        state = load_generation(connection)
    except StoreDamaged:
        # Its numbers of passages disagree, which `audit_catalogue` has said.
        return
    yield from audit_tree(parts.layout, connection, parts.spec, state)
    words = expected_lexical(connection) if parts.lexical.traits.persistent else {}
    yield from _index_problems("lexical", words, parts, state)
    yield from _index_problems("dense", expected_vectors(connection), parts, state)


def _triples(connection: Connection) -> Iterator[Problem]:
    query = "SELECT p.id, d.id FROM passages p JOIN documents d ON d.doc = p.doc WHERE p.row = ?"
    for row in damaged_rows(connection):
        passage, document = connection.execute(query, (row,)).fetchone() or (f"row {row}", None)
        what = (
            f"the triples of passage {passage} of document {document!r} have changed; they cannot "
            "be repaired: delete the document, ingest it again, and import or extract them again"
        )
        yield Problem(kind="triples", what=what, repairable=False, document_id=document)


def _index_problems(
    kind: Literal["lexical", "dense"], expected: dict[int, int], parts: Backends, state: Generation
) -> list[Problem]:
    """Compares an index with the catalogue: each live row once, with the right content."""
    backend = parts.lexical if kind == "lexical" else parts.dense
    fault = index_fault(backend, state, whole=True)
    if fault is None and backend.traits.persistent:
        try:
            return _compared(kind, backend.audit(state), expected)
        except BaseException as error:
            if not is_index_failure(error):
                raise
            fault = f"the {kind} index cannot be read ({error})"
    return [] if fault is None else [Problem(kind=kind, what=fault, repairable=True)]


def _compared(
    kind: Literal["lexical", "dense"], held: Iterator[tuple[int, int]], expected: dict[int, int]
) -> list[Problem]:
    missing, twice, wrong = dict(expected), 0, 0
    for row, crc in held:
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
