"""Stored sentence vectors: of each passage the spans of its sentences, and their vectors in int8.

Derived from the passages by an embedder, which a store does not hold, so an ingest fills them in
after its documents are committed; a passage without them is as good as one with them, only slower
to read. They lie in the catalogue, by row: they go with their passage in one transaction, and a
row number is never used again, so what is there belongs to the text that is there.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.catalogue.database import (
    Catalogue,
    Connection,
    passages_where,
    snapshot,
)
from hoptrail.rag.store.catalogue.writes import writing
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.store.locks import WriterLock
from hoptrail.rag.types import Passage, Vectors

VERSION = 1
"""Counted up when sentences are split, embedded or packed in another way; others are made anew."""

_STEPS = 127
_MOST_PARAMETERS = 500
_TABLE = (
    "CREATE TABLE IF NOT EXISTS sentences (row INTEGER PRIMARY KEY, version INTEGER NOT NULL, "
    "spans BLOB NOT NULL, vectors BLOB NOT NULL, crc INTEGER NOT NULL)"
)
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sentences'"
_STORED = f"EXISTS (SELECT 1 FROM sentences s WHERE s.row = p.row AND s.version = {VERSION})"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceVectors:
    """The sentences of one passage, in order."""

    spans: NDArray[np.int32]
    """(n, 2) int32: first character and the one after the last, counted within the passage."""
    vectors: Vectors
    """(n, dimension) float32, each row L2-normalised."""


class SentenceTable:
    """The stored sentence vectors of one tenant; thread-safe as the store is."""

    def __init__(
        self,
        catalogue: Catalogue,
        lock: WriterLock,
        errors: disk_errors,
        *,
        dimension: int,
        wait: float,
    ) -> None:
        """Use `Store.sentences`. `wait`: seconds that `save` waits for another writer."""
        self._catalogue = catalogue
        self._lock = lock
        self._errors = errors
        self._dimension = dimension
        self._wait = wait

    def of(self, ids: Sequence[str]) -> dict[str, SentenceVectors]:
        """By passage id, for the passages that have them; what is damaged is left out."""
        found: dict[str, SentenceVectors] = {}
        with self._reading() as connection:
            if not _exists(connection):
                return found
            for at in range(0, len(ids), _MOST_PARAMETERS):
                some = ids[at : at + _MOST_PARAMETERS]
                marks = ",".join("?" * len(some))
                lines = connection.execute(
                    "SELECT p.id, s.spans, s.vectors, s.crc FROM passages p "
                    f"JOIN sentences s ON s.row = p.row AND s.version = {VERSION} "
                    f"WHERE p.id IN ({marks})",
                    some,
                )
                for one, spans, vectors, crc in lines:
                    if _intact(spans, vectors, crc, self._dimension):
                        found[one] = _unpacked(spans, vectors, self._dimension)
        return found

    def missing(self, *, after: int, most: int) -> dict[int, Passage]:
        """By row, ascending: the first `most` passages above row `after` that have none."""
        with self._reading() as connection, snapshot(connection):
            stored = _STORED if _exists(connection) else "0"
            lines = connection.execute(
                f"SELECT p.row FROM passages p WHERE p.row > ?1 AND NOT {stored} "
                "ORDER BY p.row LIMIT ?2",
                (after, most),
            ).fetchall()
            rows = [row for (row,) in lines]
            known = passages_where(connection, "row", rows)
        return {row: known[row] for row in rows}

    def save(self, found: Mapping[int, SentenceVectors]) -> None:
        """Stores the sentence vectors of rows; one whose passage is gone meanwhile is passed over.

        No search sees a difference, so the store's generation stays.

        Raises:
            StoreBusy, StoreFull: as for `Store.commit`; nothing of this call is stored.
        """
        with self._lock.held(self._wait), self._reading() as connection:
            write(connection, found)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors, self._catalogue.reading() as connection:
            yield connection


def write(connection: Connection, found: Mapping[int, SentenceVectors]) -> None:
    """As `SentenceTable.save`, for who holds the writer's lock."""
    lines = [
        (row, VERSION, spans, vectors, zlib.crc32(vectors, zlib.crc32(spans)))
        for row, (spans, vectors) in ((row, _packed(one)) for row, one in found.items())
    ]
    with writing(connection):
        connection.execute(_TABLE)
        connection.executemany(
            "INSERT OR REPLACE INTO sentences SELECT row, ?2, ?3, ?4, ?5 FROM passages "
            "WHERE row = ?1",
            lines,
        )


def remove(connection: Connection, spans: Sequence[tuple[int, int]]) -> None:
    """Deletes those of dead rows."""
    if _exists(connection):
        connection.executemany(
            "DELETE FROM sentences WHERE row >= ?1 AND row < ?1 + ?2", list(spans)
        )


def audit(connection: Connection, dimension: int) -> Iterator[int]:
    """The rows whose sentence vectors are damaged, or belong to no passage."""
    if not _exists(connection):
        return
    lines = connection.execute(
        "SELECT row, version, spans, vectors, crc, row IN (SELECT row FROM passages) FROM sentences"
    )
    for row, version, spans, vectors, crc, owned in lines:
        known = isinstance(version, int) and 1 <= version <= VERSION
        if not owned or not known or not _intact(spans, vectors, crc, dimension):
            yield row


def _exists(connection: Connection) -> bool:
    """Whether the table is there; a store that no ingest has filled since then has none."""
    return connection.execute(_EXISTS).fetchone() is not None


def _packed(found: SentenceVectors) -> tuple[bytes, bytes]:
    """Little-endian int32 spans, and int8 vectors; a vector's length is lost, since it is 1."""
    largest = np.abs(found.vectors).max(axis=1, keepdims=True, initial=1e-12)
    steps = np.rint(found.vectors / largest * _STEPS).astype(np.int8)
    return found.spans.astype("<i4").tobytes(), steps.tobytes()


def _unpacked(spans: bytes, vectors: bytes, dimension: int) -> SentenceVectors:
    steps = np.frombuffer(vectors, dtype=np.int8).reshape(-1, dimension).astype(np.float32)
    lengths = np.linalg.norm(steps, axis=1, keepdims=True)
    return SentenceVectors(
        spans=np.frombuffer(spans, dtype="<i4").reshape(-1, 2),
        vectors=steps / np.maximum(lengths, 1.0),
    )


def _intact(spans: object, vectors: object, crc: int, dimension: int) -> bool:
    if not isinstance(spans, bytes) or not isinstance(vectors, bytes):
        return False
    fits = len(spans) % 8 == 0 and len(vectors) == len(spans) // 8 * dimension
    return fits and zlib.crc32(vectors, zlib.crc32(spans)) == crc
