"""The catalogue's database: one SQLite file (WAL, synchronous=FULL), its schema and reads.

    meta        format, embedder, dimension, backends; generation, next row, passages, index epochs
    documents   doc (the number of its first row), id, title, metadata, fingerprint, CRC of all that
    texts       the text in parts of SPAN characters, so that a slice reads only its own parts
    passages    row, id, document, offsets, text
    embeddings  row, vector (little-endian float32), CRC
    facets      facet, document: the equality filters
    log         rows that each generation added (alive 1) and removed (0)
    garbage     dead rows that a derived index may still hold
    outbox      changed rows that an index outside the commit (Chroma) has not applied yet
    traces      row, and the entities it is about, mentions, and may point to: the passage graph
    abouts      entity, row, strength: the rows that are about an entity, derived from the traces
    mentions    entity, row: the rows that mention it, derived from traces and triples
    triples     row, subject, relation, object: imported triples, deleted with their document
    read_by     row, model, failure: passages read for triples by a model, likewise
    triple_crcs row, CRC-32 of its triples and readers

Row numbers are allocated before anything is written under them and never reused, so the rows of a
crashed write never become alive. Each call borrows a connection for itself: no cursor is shared
between threads, and a connection is used by one thread at a time.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.store.catalogue.sqlite_file import address
from hoptrail.rag.types import Document, Passage

SPAN = 8192
"""Characters of one part of a text."""

PARTS = 1 << 20
"""A document's parts lie at keys doc * PARTS + n."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE documents (
    doc INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, title TEXT NOT NULL, metadata TEXT NOT NULL,
    fingerprint TEXT NOT NULL, crc INTEGER NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE texts (part INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE passages (
    row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, doc INTEGER NOT NULL,
    start INTEGER NOT NULL, stop INTEGER NOT NULL, text TEXT NOT NULL);
CREATE TABLE embeddings (row INTEGER PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE facets (facet TEXT NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY (facet, doc))
    WITHOUT ROWID;
CREATE INDEX facets_of ON facets (doc);
CREATE TABLE log (
    generation INTEGER NOT NULL, first INTEGER NOT NULL, rows INTEGER NOT NULL,
    alive INTEGER NOT NULL, PRIMARY KEY (generation, first)) WITHOUT ROWID;
CREATE TABLE garbage (first INTEGER PRIMARY KEY, rows INTEGER NOT NULL);
CREATE TABLE outbox (
    first INTEGER NOT NULL, rows INTEGER NOT NULL, alive INTEGER NOT NULL,
    PRIMARY KEY (first, alive)) WITHOUT ROWID;
"""

GRAPH = (
    "CREATE TABLE IF NOT EXISTS traces (row INTEGER PRIMARY KEY, "
    "abouts BLOB NOT NULL, mentions BLOB NOT NULL, candidates BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS abouts (key INTEGER NOT NULL, row INTEGER NOT NULL, "
    "strength REAL NOT NULL, PRIMARY KEY (key, row)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS mentions (key INTEGER NOT NULL, row INTEGER NOT NULL, "
    "PRIMARY KEY (key, row)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS triples (row INTEGER NOT NULL, subject TEXT NOT NULL, "
    "relation TEXT NOT NULL, object TEXT NOT NULL, "
    "PRIMARY KEY (row, subject, relation, object)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS read_by (row INTEGER NOT NULL, model TEXT NOT NULL, "
    "failure TEXT NOT NULL, PRIMARY KEY (row, model)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS triple_crcs (row INTEGER PRIMARY KEY, crc INTEGER NOT NULL)",
)
"""The tables of the passage graph; a store made before there was one gets them on opening."""

_PASSAGE = (
    "SELECT p.row, p.id, d.id, p.start, p.stop, d.title, p.text "
    "FROM passages p JOIN documents d ON d.doc = p.doc "
)
_MOST_PARAMETERS = 500
_BUSY_SECONDS = 10.0


class Connection(sqlite3.Connection):
    """An SQLite connection that remembers which commits of others it has seen."""

    seen: int = -1
    folder: Path | None = None
    """Where the copy of the meta table lies (`manifest`)."""
    saved: Mapping[str, str | int] | None = None
    """What this connection last wrote there."""

    def moved(self) -> bool:
        """Whether another connection has committed since `mark` was last called on this one."""
        return self._data_version() != self.seen

    def mark(self) -> None:
        """Records the newest commit as seen; call it before reading."""
        self.seen = self._data_version()

    def _data_version(self) -> int:
        version: int = self.execute("PRAGMA data_version").fetchone()[0]
        return version


class Catalogue:
    """Read access to the catalogue, and connections for writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: deque[Connection] = deque()
        self._all: list[Connection] = []
        self._guard = threading.Lock()
        self._closed = False

    @staticmethod
    def make(path: Path, meta: Mapping[str, str | int]) -> None:
        """Creates an empty catalogue file."""
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size=8192")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(f"BEGIN;{_SCHEMA}{';'.join(GRAPH)};COMMIT;")
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        finally:
            connection.close()

    def connect(self) -> Connection:
        """A new connection, as the writer needs; closed with the catalogue."""
        assert not self._closed, "the store is closed"
        connection = sqlite3.connect(
            address(self.path),
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
            factory=Connection,
        )
        connection.folder = self.path.parent
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=2000")
        # Entities lie scattered over their tables: SQLite's 2 MB hold too few of the pages.
        connection.execute("PRAGMA cache_size=-16000")
        with self._guard:
            self._all.append(connection)
        return connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Borrows a connection for one call."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Closes every connection; a call still running gets sqlite3.ProgrammingError."""
        with self._guard:
            self._closed = True
            self._idle.clear()
            for connection in self._all:
                connection.close()
            self._all.clear()


@contextmanager
def snapshot(connection: Connection) -> Iterator[Connection]:
    """A read transaction: all reads inside belong to one generation."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("ROLLBACK")


def meta(connection: sqlite3.Connection) -> dict[str, str | int]:
    """The meta table as a dictionary."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


def document(connection: Connection, identifier: str) -> Document | None:
    """A document by number, whole."""
    with snapshot(connection):
        found = connection.execute(
            "SELECT doc, title, metadata FROM documents WHERE id = ?", (identifier,)
        ).fetchone()
        if found is None:
            return None
        doc, title, metadata = found
        try:
            return Document(
                id=identifier,
                title=title,
                text=whole_text(connection, doc),
                metadata=dict(json.loads(metadata)),
            )
        except (TypeError, ValueError) as error:
            raise StoreDamaged(
                f"The document {identifier!r} is damaged ({error}): run hoptrail fsck."
            ) from error


def whole_text(connection: sqlite3.Connection, doc: int) -> str:
    """The text of a document number."""
    parts = connection.execute(
        "SELECT body FROM texts WHERE part >= ? AND part < ? ORDER BY part",
        (doc * PARTS, (doc + 1) * PARTS),
    )
    return "".join(body for (body,) in parts)


def text_slice(connection: Connection, identifier: str, start: int, end: int) -> str | None:
    """`text[start:end]` of a document, reading only the parts it lies in; None: no document."""
    with snapshot(connection):
        found = connection.execute(
            "SELECT doc FROM documents WHERE id = ?", (identifier,)
        ).fetchone()
        if found is None:
            return None
        base = found[0] * PARTS
        parts = connection.execute(
            "SELECT body FROM texts WHERE part >= ? AND part < ? ORDER BY part",
            (base + start // SPAN, min(base + -(-end // SPAN), base + PARTS)),
        ).fetchall()
    offset = start // SPAN * SPAN
    return "".join(body for (body,) in parts)[start - offset : end - offset]


def passages_where(
    connection: sqlite3.Connection, column: str, keys: Sequence[str | int]
) -> dict[str | int, Passage]:
    """The passages whose `column` (row or id) is among the keys, by that key."""
    assert column in ("row", "id")
    found: dict[str | int, Passage] = {}
    for at in range(0, len(keys), _MOST_PARAMETERS):
        some = keys[at : at + _MOST_PARAMETERS]
        marks = ",".join("?" * len(some))
        for line in connection.execute(f"{_PASSAGE} WHERE p.{column} IN ({marks})", some):
            found[line[0] if column == "row" else line[1]] = _passage(line)
    return found


def passages_of(connection: sqlite3.Connection, identifier: str) -> tuple[Passage, ...]:
    """A document's passages by start."""
    lines = connection.execute(
        f"{_PASSAGE} WHERE p.row >= (SELECT doc FROM documents WHERE id = ?1) AND p.row < "
        "(SELECT doc + rows FROM documents WHERE id = ?1) ORDER BY p.start, p.stop",
        (identifier,),
    )
    return tuple(_passage(line) for line in lines)


def spans(connection: Connection) -> tuple[int, NDArray[np.int64]]:
    """`Store.spans`, in one transaction."""
    with snapshot(connection):
        generation = int(meta(connection)["generation"])
        return generation, row_spans(connection)


def row_spans(connection: Connection) -> NDArray[np.int64]:
    """(n, 2) int64: first row and number of rows of each document that has any, ascending."""
    query = "SELECT doc, rows FROM documents WHERE rows > 0 ORDER BY doc"
    found = connection.execute(query).fetchall()
    return np.array(found, dtype=np.int64).reshape(len(found), 2)


def rows_with(connection: sqlite3.Connection, wanted: Sequence[str]) -> NDArray[np.int64]:
    """The rows of the documents that have every one of the filter tokens, ascending."""
    each = " INTERSECT ".join("SELECT doc FROM facets WHERE facet = ?" for _ in wanted)
    ranges = connection.execute(
        f"SELECT d.doc, d.rows FROM ({each}) f JOIN documents d ON d.doc = f.doc ORDER BY d.doc",
        tuple(wanted),
    ).fetchall()
    return expanded(ranges)


def expanded(ranges: Sequence[tuple[int, int]] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Row numbers of (first, count) pairs."""
    if len(ranges) == 0:
        return np.empty(0, dtype=np.int64)
    pairs = np.asarray(ranges, dtype=np.int64)
    firsts, counts = pairs[:, 0], pairs[:, 1]
    skipped = np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(firsts, counts) + np.arange(int(counts.sum()), dtype=np.int64) - skipped


def vectors_of(
    connection: sqlite3.Connection, rows: NDArray[np.int64], dimension: int
) -> NDArray[np.float32]:
    """The stored vectors of the rows (ascending), (len(rows), dimension) float32.

    Raises:
        StoreDamaged: a row has no vector, or one of another length.
    """
    known, vectors = known_vectors(connection, rows, dimension)
    if len(known) < len(rows):
        row = int(np.setdiff1d(rows, known)[0])
        raise StoreDamaged(f"Row {row} has no vector in the catalogue: run hoptrail fsck.")
    return vectors


def known_vectors(
    connection: sqlite3.Connection, rows: NDArray[np.int64], dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows (ascending) that still exist, and their vectors.

    Raises:
        StoreDamaged: a vector of another length.
    """
    lines: list[tuple[int, bytes]] = []
    for at in range(0, len(rows), _MOST_PARAMETERS):
        some = rows[at : at + _MOST_PARAMETERS].tolist()
        marks = ",".join("?" * len(some))
        query = f"SELECT row, vector FROM embeddings WHERE row IN ({marks}) ORDER BY row"
        lines += connection.execute(query, some).fetchall()
    for row, blob in lines:
        if len(blob) != 4 * dimension:
            raise StoreDamaged(f"Row {row} has a vector of {len(blob)} bytes: run hoptrail fsck.")
    vectors = np.frombuffer(b"".join(blob for _, blob in lines), dtype="<f4")
    known = np.array([row for row, _ in lines], dtype=np.int64)
    return known, vectors.reshape(len(lines), dimension)


def _passage(line: tuple[int, str, str, int, int, str, str]) -> Passage:
    row, identifier, document_id, start, end, title, text = line
    # SQLite returns whatever type a damaged cell has.
    if not (type(start) is type(end) is int and type(title) is type(text) is str):
        raise StoreDamaged(f"The passage of row {row} is damaged: run hoptrail fsck --repair.")
    return Passage(
        id=identifier, document_id=document_id, start=start, end=end, title=title, text=text
    )
