"""Repair of a store: the catalogue first, then all that is derived from it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.fsck.tree import drop_tree
from hoptrail.rag.ingest.sentence_vectors import embedded_sentences
from hoptrail.rag.store.backends import Backends
from hoptrail.rag.store.catalogue import sentence_table
from hoptrail.rag.store.catalogue.audit import Finding, Problem, audit_catalogue, is_vector
from hoptrail.rag.store.catalogue.database import Connection, passages_where
from hoptrail.rag.store.catalogue.manifest import FILE, save_manifest
from hoptrail.rag.store.catalogue.salvage import salvage, structural_faults
from hoptrail.rag.store.catalogue.writes import record_generation, vector_bytes, writing
from hoptrail.rag.store.graph_index.triple_crcs import (
    remove_orphaned_seals,
    seal_triples,
    unsealed_rows,
)
from hoptrail.rag.store.layout import is_index_failure
from hoptrail.rag.store.maintenance import rebuild
from hoptrail.rag.store.snapshot import load_generation
from hoptrail.rag.tree.types import TreeSpec
from hoptrail.rag.types import Passage, embedding_text

EmbedderAtHand = Callable[[], Embedder]
"""Loads the embedder of the store; raises a HoptrailError where it is not at hand."""

_NORM = 1e-4
"""How far from 1 the length of a vector may lie that has no checksum to compare with."""


def lost_documents(ids: Sequence[str]) -> list[Problem]:
    """The problems of documents whose records could not be read."""
    return [
        Problem(
            kind="document",
            what=f"document {one!r}: its record is lost with a page of the file; ingest it again",
            repairable=False,
            document_id=one,
        )
        for one in ids
    ]


def restore_catalogue(parts: Backends, connection: Connection) -> list[Problem]:
    """Salvages a catalogue whose file is damaged; returns the documents that are lost."""
    if not structural_faults(connection):
        return []
    lost = salvage(connection, parts.layout.folder)
    with writing(connection):
        gone = connection.execute(
            "SELECT row, 1 FROM passages WHERE doc NOT IN (SELECT doc FROM documents)"
        ).fetchall()
        if lost or gone:
            # As a commit that deletes them, so that open stores see that they are gone.
            record_generation(connection, [], gone)
    return lost_documents(lost)


def mend(
    parts: Backends,
    connection: Connection,
    problems: Sequence[Problem],
    embedder: EmbedderAtHand | None,
) -> TreeSpec | None:
    """Mends what the problems name, and seals what had no checksum yet.

    Returns:
        How the tree was made, if it was removed and can be built again.
    """
    kinds = {one.kind for one in problems}
    model = _loaded(parts, embedder) if kinds & {"vector", "sentence"} else None
    with writing(connection):
        findings = _mended_catalogue(connection, parts.spec.dimension)
    if "vector" in kinds:
        _restore_vectors(parts, connection, model)
    if "sentence" in kinds and model is not None:
        rows = [
            values[0]
            for one in findings
            if one.problem.kind == "sentence"
            for _, values in one.remedy
        ]
        _restore_sentences(connection, [row for row in rows if isinstance(row, int)], model)
    made = drop_tree(parts.layout) if "tree" in kinds else None
    parts.dense.settle(connection)
    left = {one.problem.kind for one in audit_catalogue(connection, parts.spec.dimension)}
    # A passage whose text was repaired is wrong in the lexical index as well.
    rebuild(
        parts,
        connection,
        lexical=bool(kinds & {"lexical", "document", "passage", "facet", "orphan", "catalogue"}),
        # Without its vectors there is nothing to build it from.
        dense=bool(kinds & {"dense", "facet", "orphan", "vector", "catalogue"})
        and "vector" not in left,
        graph=bool(kinds & {"graph", "document", "passage", "orphan", "catalogue"}),
    )
    seal(parts, connection)
    return made


def _mended_catalogue(connection: Connection, dimension: int) -> list[Finding]:
    """Applies the remedies of the catalogue's audit until it finds nothing new; all it found.

    A row that is removed leaves rows that belonged to it.
    """
    every: list[Finding] = []
    while fresh := [one for one in audit_catalogue(connection, dimension) if one not in every]:
        for finding in fresh:
            for statement, values in finding.remedy:
                connection.execute(statement, values)
        died = sorted({one.died for one in fresh if one.died is not None})
        if died:
            # As a commit that deletes them, so that open stores see that they are gone.
            sentence_table.remove(connection, died)
            record_generation(connection, [], died)
        every += fresh
    return every


def seal(parts: Backends, connection: Connection) -> None:
    """Gives checksums to what an earlier version wrote without, and renews the copy."""
    with writing(connection):
        if parts.spec.graph != "none":
            seal_triples(connection, unsealed_rows(connection))
            remove_orphaned_seals(connection)
    (parts.layout.folder / FILE).unlink(missing_ok=True)
    connection.saved = None
    save_manifest(connection)


def _loaded(parts: Backends, embedder: EmbedderAtHand | None) -> Embedder | None:
    """The store's embedder; None if it is not at hand, or is another."""
    try:
        model = None if embedder is None else embedder()
    except HoptrailError:
        return None
    own = (parts.spec.embedder, parts.spec.dimension)
    return model if model is not None and (model.id, model.dimension) == own else None


def _restore_vectors(parts: Backends, connection: Connection, model: Embedder | None) -> None:
    """Puts back the vectors that are missing or damaged, where there is a source for them."""
    lines = connection.execute(
        "SELECT p.row, e.vector, e.crc FROM passages p JOIN documents d ON d.doc = p.doc "
        "LEFT JOIN embeddings e ON e.row = p.row ORDER BY p.row"
    )
    bad = {
        row: (blob, crc)
        for row, blob, crc in lines
        if not is_vector(blob, crc, parts.spec.dimension)
    }
    found = {row: _indexed(parts, connection, row, *held) for row, held in bad.items()}
    unknown = [row for row, blob in found.items() if blob is None]
    if model is not None and unknown:
        found.update(zip(unknown, _embedded(connection, unknown, model), strict=True))
    with writing(connection):
        connection.executemany(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)",
            [(row, blob, zlib.crc32(blob)) for row, blob in found.items() if blob is not None],
        )


def _indexed(
    parts: Backends, connection: Connection, row: int, blob: object, crc: object
) -> bytes | None:
    """A row's vector as the dense index has it, if that is beyond doubt."""
    try:
        index = parts.dense.reading(load_generation(connection))
        vector = index.vectors(np.array([row], dtype=np.int64))[0]
    except BaseException as error:
        if not isinstance(error, HoptrailError) and not is_index_failure(error):
            raise
        return None
    held = vector_bytes(vector)
    unit = abs(float(np.linalg.norm(vector.astype(np.float64))) - 1.0) <= _NORM
    # Two of three agree: the vector and its checksum, or both vectors.
    sure = zlib.crc32(held) == crc or held == blob or (blob is None and unit)
    return held if sure and unit else None


def _embedded(connection: Connection, rows: Sequence[int], model: Embedder) -> list[bytes]:
    passages = _passages(connection, rows)
    vectors = model.embed([embedding_text(one) for one in passages], "passage")
    return [vector_bytes(vector) for vector in vectors]


def _restore_sentences(connection: Connection, rows: Sequence[int], model: Embedder) -> None:
    known = passages_where(connection, "row", rows)
    alive = [row for row in rows if row in known]
    found = embedded_sentences([known[row] for row in alive], model)
    sentence_table.write(connection, dict(zip(alive, found, strict=True)))


def _passages(connection: Connection, rows: Sequence[int]) -> list[Passage]:
    known = passages_where(connection, "row", list(rows))
    return [known[row] for row in rows]


def unmended(problems: Sequence[Problem]) -> list[Problem]:
    """The problems that a repair has left, marked as such."""
    return [replace(one, repairable=False) for one in problems]
