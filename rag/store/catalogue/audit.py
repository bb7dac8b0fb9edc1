"""Audit of the catalogue against itself, document by document; the problems that fsck reports."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from hoptrail.rag.store.catalogue import sentence_table
from hoptrail.rag.store.catalogue.database import PARTS, Connection, meta, whole_text
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.store.catalogue.writes import document_crc, facets_of
from hoptrail.rag.types import passage_id

Kind = Literal[
    "catalogue",
    "document",
    "passage",
    "vector",
    "facet",
    "orphan",
    "outbox",
    "lexical",
    "dense",
    "graph",
    "tree",
    "sentence",
    "triples",
]
"""catalogue: SQLite's own check · document: it changed under its CRC · passage: not what the
document says at its offsets · vector: missing, or changed under its CRC · facet: not what the
metadata says · orphan: rows of no document · outbox: changes not yet applied · lexical, dense: the
index differs from the catalogue · graph: the links differ from those of the texts and triples ·
tree: its file cannot be read, or it is no tree over the passages of the store · sentence: stored
sentence vectors are damaged or belong to no passage · triples: imported or extracted ones changed
under their CRC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem found by fsck."""

    kind: Kind
    what: str
    """For people; names the document if there is one."""
    repairable: bool
    """Whether `--repair` repairs it; otherwise `what` says what to do."""
    document_id: str | None = None


Remedy = tuple[str, tuple[object, ...]]

_AGAIN = "it cannot be repaired: delete the document and ingest it again"
_ELSE = (
    "a repair takes it from the dense index or embeds it again; where it cannot, delete the "
    "document and ingest it again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem and the statements that repair it."""

    problem: Problem
    remedy: tuple[Remedy, ...] = field(default=())
    died: tuple[int, int] | None = None
    """First row and number of the passages that the remedy deletes."""


def audit_catalogue(connection: Connection, dimension: int) -> Iterator[Finding]:
    """The problems of the catalogue's content; call it inside a transaction.

    `structural_faults` finds those of its file, which must be mended first.
    """
    yield from _counts(connection)
    documents = connection.execute(
        "SELECT doc, id, title, metadata, crc, rows, fingerprint FROM documents ORDER BY doc"
    )
    for line in documents.fetchall():
        try:
            yield from _document(connection, line, dimension)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"its record cannot be parsed ({error}); {_AGAIN}"
            yield _damaged(connection, line, what)
    yield from _orphans(connection)
    for row in sentence_table.audit(connection, dimension):
        what = f"the sentence vectors of row {row} are damaged, or belong to no passage"
        yield _finding("sentence", None, what, ("DELETE FROM sentences WHERE row = ?", (row,)))


Line = tuple[int, str, str, str, int, int, str]
"""Of a document: number, id, title, metadata, CRC-32, passages, fingerprint."""

UNINDEXED = "its passages were lost"
"""Fingerprint of a document whose passages a repair gave up: the next ingest replaces it."""


def _document(connection: Connection, line: Line, dimension: int) -> Iterator[Finding]:
    doc, identifier, title, metadata, crc, rows, fingerprint = line
    if fingerprint == UNINDEXED:
        yield _finding(
            "passage", identifier, f"no search finds it, its passages are lost; {_AGAIN}"
        )
    text = whole_text(connection, doc)
    held = _held_rows(connection, (doc, rows))
    if len(held) != rows:
        yield _given_up((doc, rows), identifier, f"it has {len(held)} of {rows} passages")
    if document_crc(title, metadata, text) != crc:
        yield _damaged(connection, line, f"its content has changed; {_AGAIN}")
    else:
        yield from _passages(held, (doc, rows), identifier, text)
        yield from _facets(connection, doc, identifier, metadata)
    yield from _vectors(connection, (doc, rows), identifier, dimension)


def _counts(connection: Connection) -> Iterator[Finding]:
    """Numbers of passages that disagree, and rows listed as garbage although they are alive."""
    values = meta(connection)
    present = connection.execute("SELECT count(*) FROM passages").fetchone()[0]
    counted = connection.execute("SELECT coalesce(sum(rows), 0) FROM documents").fetchone()[0]
    if counted != values.get("passages"):
        what = f"the settings count {values.get('passages')!r} passages, the documents {counted}"
        if present == values.get("passages"):
            owned = "(SELECT count(*) FROM passages p WHERE p.doc = documents.doc)"
            remedy = f"UPDATE documents SET rows = {owned} WHERE rows IS NOT {owned}"
        else:
            total = "(SELECT coalesce(sum(rows), 0) FROM documents)"
            remedy = f"UPDATE meta SET value = {total} WHERE key = 'passages'"
        yield _finding("catalogue", None, what, (remedy, ()))
    alive = "EXISTS (SELECT 1 FROM passages p WHERE p.row >= first AND p.row < first + rows)"
    for table, condition in (("garbage", alive), ("outbox", f"NOT alive AND {alive}")):
        where = f"FROM {table} WHERE {condition}"
        count = connection.execute(f"SELECT count(*) {where}").fetchone()[0]
        if count:
            what = f"{count} entries of {table} list passages that are alive"
            yield _finding("catalogue", None, what, (f"DELETE {where}", ()))


def expected_lexical(connection: Connection) -> dict[int, int]:
    """The CRC-32 that each row must have in the lexical index."""
    lines = connection.execute(
        "SELECT p.row, d.title, p.text FROM passages p JOIN documents d ON d.doc = p.doc"
    )
    return {row: zlib.crc32(f"{title}\n{text}".encode()) for row, title, text in lines}


def expected_vectors(connection: Connection) -> dict[int, int]:
    """The CRC-32 that each row must have in the dense index."""
    return dict(connection.execute("SELECT row, crc FROM embeddings").fetchall())


Row = tuple[int, str, int, int, int, str]
"""Of a passage: row, id, document, start, stop, text."""


def _held_rows(connection: Connection, span: tuple[int, int]) -> list[Row]:
    doc, rows = span
    held: list[Row] = connection.execute(
        "SELECT row, id, doc, start, stop, text FROM passages WHERE row >= ? AND row < ?",
        (doc, doc + rows),
    ).fetchall()
    return held


def _passages(
    held: list[Row], span: tuple[int, int], identifier: str, text: str
) -> Iterator[Finding]:
    doc, _ = span
    for row, one, owner, start, stop, body in held:
        if owner != doc or one != passage_id(identifier, start, stop) or stop > len(text):
            yield _misplaced(span, (row, one, start, stop, body), identifier, text)
        elif body != text[start:stop]:
            what = f"passage {one} differs from characters {start} to {stop} of its document"
            repair = ("UPDATE passages SET text = ? WHERE row = ?", (text[start:stop], row))
            yield _finding("passage", identifier, what, repair)


def _damaged(connection: Connection, line: Line, what: str) -> Finding:
    """A document that nothing can give back: a repair leaves what is there readable as text."""
    doc, identifier, title, metadata = line[:4]
    parts = connection.execute(
        "SELECT part, body FROM texts WHERE part >= ? AND part < ?",
        (doc * PARTS, (doc + 1) * PARTS),
    ).fetchall()
    record = (_as_text(title), _as_text(metadata), doc)
    found = _finding(
        "document",
        _as_text(identifier),
        what,
        ("UPDATE documents SET title = ?, metadata = ? WHERE doc = ?", record),
        *(("UPDATE texts SET body = ? WHERE part = ?", (_as_text(body), at)) for at, body in parts),
    )
    return replace(found, problem=replace(found.problem, repairable=False))


def _as_text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _misplaced(
    span: tuple[int, int], line: tuple[int, str, int, int, str], identifier: str, text: str
) -> Finding:
    """A passage whose id and offsets disagree: whichever of them is wrong is mended."""
    row, one, start, stop, body = line
    doc, _ = span
    what = f"the passage of row {row} has another id than its offsets"
    if 0 <= start < stop <= len(text) and body == text[start:stop]:
        repair = "UPDATE passages SET id = ?, doc = ? WHERE row = ?"
        right = passage_id(identifier, start, stop)
        return _finding("passage", identifier, what, (repair, (right, doc, row)))
    at = text.find(body)
    while at >= 0 and body:
        if one == passage_id(identifier, at, at + len(body)):
            repair = "UPDATE passages SET start = ?, stop = ?, doc = ? WHERE row = ?"
            right_place = (at, at + len(body), doc, row)
            return _finding("passage", identifier, what, (repair, right_place))
        at = text.find(body, at + 1)
    return _given_up(span, identifier, f"row {row} has wrong offsets")


def _given_up(span: tuple[int, int], identifier: str, what: str) -> Finding:
    """Passages that nothing can give back: a repair leaves the document without any."""
    doc, rows = span
    found = _finding(
        "passage",
        identifier,
        f"{what}; {_AGAIN}",
        ("DELETE FROM passages WHERE row >= ? AND row < ?", (doc, doc + rows)),
        ("DELETE FROM embeddings WHERE row >= ? AND row < ?", (doc, doc + rows)),
        ("UPDATE documents SET rows = 0, fingerprint = ? WHERE doc = ?", (UNINDEXED, doc)),
    )
    return replace(found, problem=replace(found.problem, repairable=False), died=(doc, rows))


def _vectors(
    connection: Connection, span: tuple[int, int], identifier: str, dimension: int
) -> Iterator[Finding]:
    doc, rows = span
    held = connection.execute(
        "SELECT row, vector, crc FROM embeddings WHERE row >= ? AND row < ?", (doc, doc + rows)
    ).fetchall()
    if len(held) != rows:
        yield _vector(identifier, f"it has {len(held)} of {rows} vectors")
    for row, blob, crc in held:
        if not is_vector(blob, crc, dimension):
            yield _vector(identifier, f"the vector of row {row} has changed")


def is_vector(blob: object, crc: object, dimension: int) -> bool:
    """Whether a stored vector has the length and the checksum that it must have."""
    return isinstance(blob, bytes) and len(blob) == 4 * dimension and zlib.crc32(blob) == crc


def _vector(identifier: str, what: str) -> Finding:
    """A problem that a repair may solve, with a vector from the index or from the embedder."""
    found = _finding("vector", identifier, f"{what}; {_ELSE}")
    return replace(found, problem=replace(found.problem, repairable=True))


def _facets(connection: Connection, doc: int, identifier: str, metadata: str) -> Iterator[Finding]:
    right = filter_tokens(json.loads(metadata))
    if facets_of(connection, doc) != right:
        yield _finding(
            "facet",
            identifier,
            "its filters differ from its metadata",
            ("DELETE FROM facets WHERE doc = ?", (doc,)),
            *(("INSERT INTO facets VALUES (?, ?)", (one, doc)) for one in right),
        )


def _orphans(connection: Connection) -> Iterator[Finding]:
    """Rows that belong to no document; no search finds them, but they cost space."""
    owned = {
        "passages": "doc IN (SELECT doc FROM documents)",
        "embeddings": "row IN (SELECT row FROM passages WHERE doc IN (SELECT doc FROM documents))",
        "facets": "doc IN (SELECT doc FROM documents)",
        "texts": f"part / {PARTS} IN (SELECT doc FROM documents)",
    }
    for table, condition in owned.items():
        where = f"FROM {table} WHERE NOT ({condition})"
        count = connection.execute(f"SELECT count(*) {where}").fetchone()[0]
        if count:
            what = f"{count} rows of {table} belong to no document"
            yield _finding("orphan", None, what, (f"DELETE {where}", ()))


def _finding(kind: Kind, document_id: str | None, what: str, *remedy: Remedy) -> Finding:
    return Finding(
        problem=Problem(
            kind=kind,
            what=what if document_id is None else f"document {document_id!r}: {what}",
            repairable=bool(remedy),
            document_id=document_id,
        ),
        remedy=remedy,
    )
