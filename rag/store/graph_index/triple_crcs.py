"""Checksums of imported and extracted triples, by passage: nothing else could give them back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence

from hoptrail.rag.store.catalogue.database import GRAPH, Connection

_TABLES = (
    "SELECT count(*) FROM sqlite_master "
    "WHERE type = 'table' AND name IN ('triple_crcs', 'triples', 'read_by')"
)
_ALL = 3
_TRIPLES = (
    "SELECT row, subject, relation, object FROM triples {} ORDER BY row, subject, relation, object"
)
_READERS = "SELECT row, model, failure FROM read_by {} ORDER BY row, model"


def seal_triples(connection: Connection, rows: Iterable[int]) -> None:
    """Renews the checksums of rows whose triples or readers have changed."""
    connection.execute(GRAPH[-1])
    for row in sorted(set(rows)):
        crc = _checksums(connection, "WHERE row = ?", (row,)).get(row)
        if crc is None:
            connection.execute("DELETE FROM triple_crcs WHERE row = ?", (row,))
        else:
            connection.execute("INSERT OR REPLACE INTO triple_crcs VALUES (?, ?)", (row, crc))


def remove_seals(connection: Connection, spans: Iterable[tuple[int, int]]) -> None:
    """Deletes the checksums of dead rows."""
    if has_seals(connection):
        connection.executemany(
            "DELETE FROM triple_crcs WHERE row >= ?1 AND row < ?1 + ?2", list(spans)
        )


def remove_orphaned_seals(connection: Connection) -> None:
    """Deletes the checksums of rows that no passage has any more."""
    connection.execute("DELETE FROM triple_crcs WHERE row NOT IN (SELECT row FROM passages)")


def has_seals(connection: Connection) -> bool:
    """Whether the table is there; a store of an earlier version has none."""
    found: int = connection.execute(_TABLES).fetchone()[0]
    return found == _ALL


def unsealed_rows(connection: Connection) -> list[int]:
    """The rows that have triples or readers, and no checksum."""
    if not has_seals(connection):
        return sorted(_checksums(connection))
    known = {row for (row,) in connection.execute("SELECT row FROM triple_crcs")}
    return sorted(_checksums(connection).keys() - known)


def damaged_rows(connection: Connection) -> Iterator[int]:
    """The rows whose triples or readers have changed under their checksum."""
    if not has_seals(connection):
        return
    present = _checksums(connection)
    query = "SELECT row, crc FROM triple_crcs WHERE row IN (SELECT row FROM passages) ORDER BY row"
    for row, crc in connection.execute(query).fetchall():
        if present.get(row) != crc:
            yield row


def _checksums(
    connection: Connection, where: str = "", values: Sequence[int] = ()
) -> dict[int, int]:
    found: dict[int, int] = {}
    for query in (_TRIPLES, _READERS):
        for row, *parts in connection.execute(query.format(where), values):
            line = json.dumps(parts, default=repr).encode()
            found[row] = zlib.crc32(line, found.get(row, 0))
    return found
