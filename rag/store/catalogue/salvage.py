"""Salvage of a catalogue whose file is damaged: every row that can be read, in a new file.

Each table is read from its start and from its end until SQLite refuses a page, so that a damaged
page costs what lies on it. The ids of lost documents come from the index over them. The result
goes back through SQLite's backup, one transaction that other processes see like a commit.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from hoptrail.rag.store.catalogue.database import GRAPH, Connection
from hoptrail.rag.types import passage_id

_NAME = "catalogue.db.salvaged"
READ_ERRORS = (sqlite3.DatabaseError, UnicodeDecodeError)
"""What reading a damaged file raises; the latter where SQLite's message quotes bytes of it."""
_VERDICTS = 20
_MISTAKEN = "NULL value in outbox."
"""SQLite below 3.42 finds this where a key leaves out a column between its own."""
_IDS = "SELECT id, doc FROM documents INDEXED BY sqlite_autoindex_documents_1"


def lenient(content: bytes) -> str:
    """Decodes UTF-8, with U+FFFD for what is none: a checksum finds it, not an exception."""
    return content.decode("utf-8", "replace")


def structural_faults(connection: Connection) -> list[str]:
    """What SQLite itself finds wrong with the file, at most 20 findings."""
    try:
        found = connection.execute(f"PRAGMA integrity_check({_VERDICTS})").fetchall()
    except READ_ERRORS as error:
        return [str(error)]
    return [one for (one,) in found if one != "ok" and not one.startswith(_MISTAKEN)]


def salvage(connection: Connection, folder: Path) -> list[str]:
    """Replaces the catalogue by what can be read of it; the writer's lock must be held.

    Returns:
        The ids of the documents that are lost.
    """
    path = folder / _NAME
    path.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.execute("PRAGMA page_size=8192")
            target.execute("BEGIN")
            for name in _made(connection, target):
                _copy(connection, target, name)
            target.execute("COMMIT")
            known = list(_indexed_ids(connection))
            kept = {doc for (doc,) in target.execute("SELECT doc FROM documents")}
            lost = sorted({one for one, doc in known if doc not in kept})
            _restore_ids(target, known)
            target.backup(connection)
    finally:
        path.unlink(missing_ok=True)
    return lost


def _made(connection: Connection, target: sqlite3.Connection) -> list[str]:
    """Makes the tables and indexes of the damaged file in the new one; the tables' names."""
    schema = connection.execute(
        "SELECT type, name, sql FROM sqlite_master "
        "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    for _, _, statement in sorted(schema, key=lambda line: line[0] != "table"):
        target.execute(statement)
    for statement in GRAPH:
        target.execute(statement)
    return [name for kind, name, _ in schema if kind == "table"]


def _copy(connection: Connection, target: sqlite3.Connection, table: str) -> None:
    columns = target.execute(f"PRAGMA table_info({table})").fetchall()
    key = [name for _, name, *_, place in sorted(columns, key=lambda one: one[-1]) if place]
    marks = ",".join("?" * len(columns))
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{name} {direction}" for name in key or ["rowid"])
        query = f"SELECT * FROM {table} ORDER BY {order}"
        whole = True
        try:
            for line in connection.execute(query):
                target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", line)
        except READ_ERRORS:
            whole = False
        if whole:
            return


def _restore_ids(target: sqlite3.Connection, known: list[tuple[str, int]]) -> None:
    """Where record and index name a document otherwise, takes the one whose id a passage has."""
    held = dict(target.execute("SELECT doc, id FROM documents"))
    first = "SELECT id, start, stop FROM passages WHERE row = ?"
    for one, doc in known:
        line = target.execute(first, (doc,)).fetchone()
        if held.get(doc, one) != one and line is not None and line[0] == passage_id(one, *line[1:]):
            target.execute("UPDATE OR IGNORE documents SET id = ? WHERE doc = ?", (one, doc))


def _indexed_ids(connection: Connection) -> Iterator[tuple[str, int]]:
    try:
        yield from connection.execute(f"{_IDS} ORDER BY id")
    except READ_ERRORS:
        return
