"""Writes of the catalogue: the changes of one commit, in transactions that the store opens."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.store.catalogue.database import PARTS, SPAN, Connection, meta, vectors_of
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.store.catalogue.manifest import is_intact, save_manifest, seal_meta
from hoptrail.rag.store.types import IndexBatch, IndexEntry
from hoptrail.rag.types import IndexedDocument

KEPT_GENERATIONS = 512
"""Generations in the log: a reader further behind reads all live rows again."""

_BATCH = 2000

Span = tuple[int, int]
"""First row and number of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A document and the row numbers assigned to it; `doc` is the first of them."""

    doc: int
    item: IndexedDocument


@contextmanager
def writing(connection: Connection) -> Iterator[Connection]:
    """One write transaction, committed at the end or rolled back.

    Raises:
        StoreDamaged: the meta table has changed under its checksum, which a commit would renew.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_intact(meta(connection)):
            raise StoreDamaged(
                "The settings in the catalogue have changed under their checksum: run hoptrail "
                "fsck --repair."
            )
        yield connection
        seal_meta(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    save_manifest(connection)


def number(connection: Connection, key: str) -> int:
    """A number of the meta table."""
    value: int = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
    return value


def set_meta(connection: Connection, key: str, value: str | int) -> None:
    """Sets one value of the meta table."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))


def put_seal(connection: Connection, key: str, value: int | None) -> None:
    """Records the checksum of an index's files; None while they are written."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


def allocate_rows(connection: Connection, count: int) -> int:
    """Allocates `count` row ids, never reused, in its own transaction.

    Until their commit they are listed as garbage, so a crash leaves nothing behind: a later write
    removes them.
    """
    with writing(connection):
        first = number(connection, "next_row")
        set_meta(connection, "next_row", first + count)
        put_seal(connection, "lexical_seal", None)
        connection.execute("INSERT INTO garbage VALUES (?, ?)", (first, count))
    return first


def assign_rows(first: int, puts: Sequence[IndexedDocument]) -> list[Placed]:
    """Assigns rows to every document, from `first` on; one without passages uses one row."""
    placed = []
    for item in puts:
        placed.append(Placed(doc=first, item=item))
        first += max(1, len(item.passages))
    return placed


def rows_needed(puts: Sequence[IndexedDocument]) -> int:
    """The number of row ids that `assign_rows` uses."""
    return sum(max(1, len(item.passages)) for item in puts)


def remove(connection: Connection, ids: Collection[str]) -> list[Span]:
    """Deletes documents as a whole; unknown ids are skipped. Returns the deleted rows."""
    gone: list[Span] = []
    for identifier in ids:
        found = connection.execute(
            "SELECT doc, rows FROM documents WHERE id = ?", (identifier,)
        ).fetchone()
        if found is None:
            continue
        doc, rows = found
        connection.execute("DELETE FROM documents WHERE doc = ?", (doc,))
        connection.execute("DELETE FROM facets WHERE doc = ?", (doc,))
        connection.execute(
            "DELETE FROM texts WHERE part >= ? AND part < ?", (doc * PARTS, (doc + 1) * PARTS)
        )
        for table in ("passages", "embeddings"):
            connection.execute(f"DELETE FROM {table} WHERE row >= ? AND row < ?", (doc, doc + rows))
        gone.append((doc, rows))
    return gone


def insert(connection: Connection, placed: Sequence[Placed]) -> None:
    """Inserts documents, passages, vectors and filter tokens."""
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", map(_line, placed))
    connection.executemany("INSERT INTO texts VALUES (?, ?)", _parts(placed))
    connection.executemany(
        "INSERT INTO passages VALUES (?, ?, ?, ?, ?, ?)",
        (
            (one.doc + at, passage.id, one.doc, passage.start, passage.end, passage.text)
            for one in placed
            for at, passage in enumerate(one.item.passages)
        ),
    )
    connection.executemany("INSERT INTO embeddings VALUES (?, ?, ?)", _vectors(placed))
    connection.executemany(
        "INSERT INTO facets VALUES (?, ?)",
        ((one, p.doc) for p in placed for one in filter_tokens(p.item.document.metadata)),
    )


def record_generation(connection: Connection, born: Sequence[Span], died: Sequence[Span]) -> int:
    """Adds a generation with the changed rows to the log; returns its number."""
    generation = number(connection, "generation") + 1
    set_meta(connection, "generation", generation)
    grown = sum(rows for _, rows in born) - sum(rows for _, rows in died)
    set_meta(connection, "passages", number(connection, "passages") + grown)
    lines = [(generation, first, rows, 1) for first, rows in merged_spans(born)]
    lines += [(generation, first, rows, 0) for first, rows in merged_spans(died)]
    connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?)", lines)
    connection.execute("DELETE FROM log WHERE generation <= ?", (generation - KEPT_GENERATIONS,))
    return generation


def garbage_rows(connection: Connection) -> list[Span]:
    """Rows that a derived index may hold although they are deleted."""
    return connection.execute("SELECT first, rows FROM garbage ORDER BY first").fetchall()


def mark_garbage(connection: Connection, died: Sequence[Span]) -> None:
    """Lists deleted rows as garbage for a later write to remove from the indexes.

    Of the garbage listed before, the rows just allocated are alive now, and this write's batch
    removed the rest from the indexes.
    """
    connection.execute("DELETE FROM garbage")
    connection.executemany("INSERT INTO garbage VALUES (?, ?)", merged_spans(died))


def add_to_outbox(connection: Connection, born: Sequence[Span], died: Sequence[Span]) -> None:
    """Queues changes for an index that is not part of the commit (transactional outbox)."""
    lines = [(first, rows, 1) for first, rows in merged_spans(born)]
    lines += [(first, rows, 0) for first, rows in merged_spans(died)]
    connection.executemany("INSERT INTO outbox VALUES (?, ?, ?)", lines)


def knows_any(connection: Connection, ids: Collection[str]) -> bool:
    """Whether any of the documents exists."""
    query = "SELECT 1 FROM documents WHERE id = ?"
    return any(connection.execute(query, (one,)).fetchone() for one in ids)


def passages_without(connection: Connection, gone: Collection[str]) -> int:
    """The passages of all documents except those."""
    left = number(connection, "passages")
    for identifier in gone:
        found = connection.execute(
            "SELECT rows FROM documents WHERE id = ?", (identifier,)
        ).fetchone()
        left -= found[0] if found is not None else 0
    return left


def merged_spans(spans: Sequence[Span]) -> list[Span]:
    """Merges spans of rows, ascending; empty ones are left out."""
    merged: list[Span] = []
    for first, rows in sorted(spans):
        if rows == 0:
            continue
        if merged and sum(merged[-1]) == first:
            merged[-1] = (merged[-1][0], merged[-1][1] + rows)
        else:
            merged.append((first, rows))
    return merged


def vector_bytes(vector: NDArray[np.float32]) -> bytes:
    """The bytes of a vector as stored."""
    return np.ascontiguousarray(vector, dtype="<f4").tobytes()


def live_batches(connection: Connection, dimension: int, *, vectors: bool) -> Iterator[IndexBatch]:
    """All live rows in batches, ascending, for rebuilding an index."""
    lines = connection.execute(
        "SELECT p.row, p.id, d.title, p.text, p.doc FROM passages p "
        "JOIN documents d ON d.doc = p.doc ORDER BY p.row"
    )
    while some := lines.fetchmany(_BATCH):
        tags = {doc: facets_of(connection, doc) for doc in {line[4] for line in some}}
        entries = [
            IndexEntry(row=row, passage_id=one, words=f"{title}\n{text}", facets=tags[doc])
            for row, one, title, text, doc in some
        ]
        rows = np.array([entry.row for entry in entries])
        yield IndexBatch(
            entries=entries,
            vectors=vectors_of(connection, rows, dimension)
            if vectors
            else np.empty((0, dimension), dtype=np.float32),
        )


def facets_of(connection: Connection, doc: int) -> tuple[str, ...]:
    """The filter tokens of a document number, sorted."""
    lines = connection.execute("SELECT facet FROM facets WHERE doc = ? ORDER BY facet", (doc,))
    return tuple(one for (one,) in lines)


def facets_by_row(connection: Connection, first: int, rows: int) -> dict[int, tuple[str, ...]]:
    """The filter tokens of every live row of the span."""
    lines = connection.execute(
        "SELECT row, doc FROM passages WHERE row >= ? AND row < ?", (first, first + rows)
    ).fetchall()
    known = {doc: facets_of(connection, doc) for doc in {doc for _, doc in lines}}
    return {row: known[doc] for row, doc in lines}


def document_crc(title: str, metadata: str, text: str) -> int:
    """The CRC-32 of a document in the catalogue."""
    return zlib.crc32(f"{title}\0{metadata}\0{text}".encode())


def _line(placed: Placed) -> tuple[int, str, str, str, str, int, int]:
    document = placed.item.document
    metadata = json.dumps(dict(document.metadata), allow_nan=False)
    return (
        placed.doc,
        document.id,
        document.title,
        metadata,
        placed.item.fingerprint,
        document_crc(document.title, metadata, document.text),
        len(placed.item.passages),
    )


def _parts(placed: Sequence[Placed]) -> Iterator[tuple[int, str]]:
    for one in placed:
        text = one.item.document.text
        for part, at in enumerate(range(0, len(text), SPAN)):
            yield one.doc * PARTS + part, text[at : at + SPAN]


def _vectors(placed: Sequence[Placed]) -> Iterator[tuple[int, bytes, int]]:
    for one in placed:
        for at, vector in enumerate(one.item.vectors):
            blob = vector_bytes(vector)
            yield one.doc + at, blob, zlib.crc32(blob)
