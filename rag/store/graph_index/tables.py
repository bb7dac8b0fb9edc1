"""Tables of the passage graph in the catalogue: writes with each commit, and rebuilds.

`traces` says what each row points to; `abouts` and `mentions` say the same by entity, so that both
directions cost one look-up. All three follow from titles, texts and imported triples. They are
written in the transaction that writes the passages: there is nothing to catch up with, unless the
extraction changes or another version of hoptrail wrote to the store; then they are built anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities import extraction as entities
from hoptrail.rag.entities.extraction import PassageEntities, entity_key, extract_entities
from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.store.catalogue.database import GRAPH, Connection, meta
from hoptrail.rag.store.graph_index.triple_crcs import remove_seals
from hoptrail.rag.types import IndexedDocument

Keys = NDArray[np.int64]
Spans = Iterable[tuple[int, int]]
"""First row and number of rows."""

_DERIVED = ("traces", "abouts", "mentions")
_OWN = ("triples", "read_by")
_TABLES = (*_DERIVED, *_OWN)
_BATCH = 4096
ABOUT_BYTES = 12
KEY_BYTES = 8
_PASSAGES = (
    "SELECT d.doc, d.title, p.row, p.text FROM passages p JOIN documents d ON d.doc = p.doc "
    "ORDER BY p.row"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityRow:
    """A row and its entities as stored: each once; `abouts` and `mentions` ascending."""

    row: int
    abouts: Sequence[tuple[int, float]]
    mentions: Sequence[int]
    candidates: Sequence[int]

    def blobs(self) -> tuple[bytes, bytes, bytes]:
        """Little-endian: int64 keys, for `abouts` followed by their float32 strengths."""
        count = len(self.abouts)
        keys, strengths = zip(*self.abouts, strict=True) if count else ((), ())
        abouts = struct.pack(f"<{count}q{count}f", *keys, *strengths)
        return abouts, key_bytes(self.mentions), key_bytes(self.candidates)


def extracted(puts: Sequence[IndexedDocument]) -> list[list[PassageEntities]]:
    """The entities of every passage, by document; pure computation."""
    return [
        extract_entities(item.document.title, [passage.text for passage in item.passages])
        for item in puts
    ]


def linked(first: int, found: Sequence[PassageEntities]) -> list[EntityRow]:
    """The rows of a document whose first row is `first`, with their entities."""
    return [_linked(first + at, one, ()) for at, one in enumerate(found)]


def write(connection: Connection, rows: Sequence[EntityRow]) -> None:
    """Inserts new rows, in the order of the tables' keys."""
    connection.executemany(
        "INSERT INTO traces VALUES (?, ?, ?, ?)", ((one.row, *one.blobs()) for one in rows)
    )
    abouts = sorted((key, one.row, strength) for one in rows for key, strength in one.abouts)
    connection.executemany("INSERT INTO abouts VALUES (?, ?, ?)", abouts)
    mentions = sorted((key, one.row) for one in rows for key in one.mentions)
    connection.executemany("INSERT INTO mentions VALUES (?, ?)", mentions)


def clear(connection: Connection, spans: Spans) -> None:
    """Deletes rows with their triples and the marks of models that read them."""
    abouts: list[tuple[int, int]] = []
    mentions: list[tuple[int, int]] = []
    spans = list(spans)
    remove_seals(connection, spans)
    for first, rows in spans:
        span = (first, first + rows)
        lines = connection.execute(
            "SELECT row, abouts, mentions FROM traces WHERE row >= ? AND row < ?", span
        )
        for row, about, mention in lines:
            abouts += ((key, row) for key in about_keys(about).tolist())
            mentions += ((key, row) for key in keys_of(mention).tolist())
        for table in ("traces", *_OWN):
            connection.execute(f"DELETE FROM {table} WHERE row >= ? AND row < ?", span)
    connection.executemany("DELETE FROM abouts WHERE key = ? AND row = ?", sorted(abouts))
    connection.executemany("DELETE FROM mentions WHERE key = ? AND row = ?", sorted(mentions))


def mark(connection: Connection, generation: int) -> None:
    """Records that the graph is complete up to a generation, if it was up to the one before."""
    connection.execute(
        "UPDATE meta SET value = ?1 WHERE key = 'graph_generation' AND value = ?1 - 1 "
        "AND (SELECT value FROM meta WHERE key = 'graph_version') = ?2",
        (generation, entities.VERSION),
    )


def staleness(connection: Connection, graph: str) -> str | None:
    """The reason why the tables do not reflect the catalogue or the extraction; None if they do."""
    if graph == "none":
        return None
    values = meta(connection)
    marks = ",".join("?" * len(_TABLES))
    query = f"SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ({marks})"
    if connection.execute(query, _TABLES).fetchone()[0] < len(_TABLES):
        return "the passage graph is missing"
    version = values.get("graph_version")
    if version != entities.VERSION:
        return f"the passage graph has version {version!r}, not {entities.VERSION}"
    if values.get("graph_generation") != values["generation"]:
        return "the passage graph lacks what another version of hoptrail has committed"
    return None


def build(connection: Connection, graph: str) -> None:
    """Rebuilds the graph from the catalogue; call it inside a write transaction.

    Triples and marks of readers stay if their passage is there.
    """
    for statement in GRAPH:
        connection.execute(statement)
    for table in _DERIVED:
        connection.execute(f"DELETE FROM {table}")
    if graph == "none":
        for table in _OWN:
            connection.execute(f"DELETE FROM {table}")
    else:
        for table in _OWN:
            connection.execute(
                f"DELETE FROM {table} WHERE row NOT IN "
                "(SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc)"
            )
        _fill(connection)
    generation = connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0]
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        (
            ("graph", graph),
            ("graph_version", entities.VERSION),
            ("graph_generation", generation),
        ),
    )


def recomputed(connection: Connection) -> Iterator[EntityRow]:
    """The rows that the graph must hold: all live rows, from their texts and triples."""
    lines: Iterable[tuple[int, str, int, str]] = connection.execute(_PASSAGES)
    for _, group in groupby(lines, key=itemgetter(0)):
        passages = list(group)
        rows = [row for _, _, row, _ in passages]
        imported = _imported(connection, rows[0], rows[-1])
        found = extract_entities(passages[0][1], [text for *_, text in passages])
        for row, one in zip(rows, found, strict=True):
            yield _linked(row, one, imported.get(row, ()))


def named_in(subject: str, thing: str) -> set[int]:
    """The entities of a triple, which its passage counts as mentioning."""
    return {key for key in (entity_key(subject), entity_key(thing)) if key}


def about_keys(blob: bytes) -> Keys:
    """The entities of a row's `abouts`."""
    return np.frombuffer(_bytes(blob), dtype="<i8", count=len(blob) // ABOUT_BYTES)


def about_strengths(blob: bytes) -> NDArray[np.float32]:
    """The strengths of a row's `abouts`, in the order of their entities."""
    count = len(_bytes(blob)) // ABOUT_BYTES
    return np.frombuffer(blob, dtype="<f4", count=count, offset=KEY_BYTES * count)


def key_bytes(keys: Sequence[int]) -> bytes:
    """Entity keys as little-endian int64 bytes."""
    return struct.pack(f"<{len(keys)}q", *keys)


def keys_of(blob: bytes) -> Keys:
    """The entities of a row's `mentions` or `candidates`."""
    return np.frombuffer(_bytes(blob), dtype="<i8", count=len(blob) // KEY_BYTES)


def _bytes(blob: object) -> bytes:
    """Raises StoreDamaged unless it is bytes: SQLite returns whatever type a damaged cell has."""
    if not isinstance(blob, bytes):
        raise StoreDamaged("Links of a passage are damaged: run hoptrail fsck --repair.")
    return blob


def _linked(row: int, found: PassageEntities, more: Iterable[int]) -> EntityRow:
    return EntityRow(
        row=row,
        abouts=sorted(dict(found.abouts).items()),
        mentions=sorted({*found.mentions, *more}),
        candidates=found.candidates,
    )


def _fill(connection: Connection) -> None:
    batch: list[EntityRow] = []
    for one in recomputed(connection):
        batch.append(one)
        if len(batch) == _BATCH:
            write(connection, batch)
            batch = []
    write(connection, batch)


def _imported(connection: Connection, first: int, last: int) -> dict[int, set[int]]:
    """The entities of the triples of the rows from `first` to `last`."""
    lines: list[Any] = connection.execute(
        "SELECT row, subject, object FROM triples WHERE row >= ? AND row <= ?", (first, last)
    ).fetchall()
    found: dict[int, set[int]] = {}
    for row, subject, thing in lines:
        found.setdefault(row, set()).update(named_in(subject, thing))
    return found
