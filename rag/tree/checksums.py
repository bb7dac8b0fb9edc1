"""Checksums of a stored tree: CRC-32 of each node and of the settings, in a table of its file."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence

from hoptrail.rag.errors import StoreDamaged

SCHEMA = "CREATE TABLE IF NOT EXISTS checks (number INTEGER PRIMARY KEY, crc INTEGER NOT NULL)"

_META = -1
"""Number under which the checksum of the settings stands, beside those of the nodes."""
_MOST_NAMED = 20

Record = tuple[int, str, int, int, bytes, bytes, bytes]
"""A node as stored: number, text, counts; children, rows and total as bytes."""


def has_checksums(connection: sqlite3.Connection) -> bool:
    """Whether the tree has checksums; one saved by an earlier version has none."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'checks'"
    return connection.execute(query).fetchone() is not None and (
        connection.execute("SELECT 1 FROM checks LIMIT 1").fetchone() is not None
    )


def seal_nodes(
    connection: sqlite3.Connection, meta: Mapping[str, str | int], records: Iterable[Record]
) -> None:
    """Stores the checksums of nodes and of the settings, inside a write transaction."""
    lines = [(record[0], _checksum(record)) for record in records]
    lines.append((_META, _checksum(sorted(meta.items()))))
    connection.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?)", lines)


def remove_checksums(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    """Deletes the checksums of removed nodes."""
    connection.executemany("DELETE FROM checks WHERE number = ?", [(one,) for one in numbers])


def settings_intact(connection: sqlite3.Connection, meta: Mapping[str, str | int]) -> bool:
    """Whether the settings have their checksum, or the tree has none."""
    if not has_checksums(connection):
        return True
    held = connection.execute("SELECT crc FROM checks WHERE number = ?", (_META,)).fetchone()
    return held is not None and held[0] == _checksum(sorted(meta.items()))


def verify_nodes(
    connection: sqlite3.Connection, meta: Mapping[str, str | int], records: Iterable[Record]
) -> None:
    """Compares nodes and settings with their checksums, if there are any.

    Raises:
        StoreDamaged: names the nodes that differ.
    """
    if not has_checksums(connection):
        return
    held = dict(connection.execute("SELECT number, crc FROM checks"))
    present = {record[0]: _checksum(record) for record in records}
    present[_META] = _checksum(sorted(meta.items()))
    wrong = {one for one in held.keys() | present if held.get(one) != present.get(one)}
    if wrong:
        named = [
            "its settings" if one == _META else f"node {one}" for one in sorted(wrong, key=repr)
        ]
        raise StoreDamaged(f"changed under the checksum: {', '.join(named[:_MOST_NAMED])}")


def _checksum(parts: Sequence[object]) -> int:
    return zlib.crc32(repr(tuple(parts)).encode("utf-8", "surrogatepass"))
