"""Copy of the catalogue's table definitions, and their return to a file that has them damaged.

SQLite keeps the definitions, with the root page of each table, on the first page of the file. A
bit that flips there makes the whole file unreadable, though no document lies on that page. The copy
stands in `manifest.json`; SQLite's schema cookie, which each change of a definition and each VACUUM
counts up, tells whether it is of the file's present state.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

_PAGE = 8192
_COUNTERS = slice(24, 44)
"""Bytes of the header that change with commits: counters, size, list of free pages, cookie."""
_VERSIONS = slice(92, 100)
_COOKIE = slice(40, 44)
_LEAF = 13
"""Type of a page that holds rows, at byte 100: the definitions fill no second page."""


def schema_copy(connection: sqlite3.Connection) -> dict[str, Any]:
    """The definitions as they are kept in the copy of the settings."""
    kept = {
        "cookie": connection.execute("PRAGMA schema_version").fetchone()[0],
        "definitions": _definitions(connection),
    }
    return {**kept, "crc": _crc(kept)}


def restore_schema(path: Path, copy: object) -> bool:
    """Writes the definitions of the copy to the first page of a catalogue that lacks them.

    The writer's lock must be held, and the file must not be open here.

    Returns:
        Whether it was done: not where the definitions are those of the copy, or the copy is
        damaged or of another state of the file.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.text_factory = bytes
        try:
            held = json.loads(json.dumps(_definitions(connection), default=bytes.decode))
            if isinstance(copy, dict) and held == copy.get("definitions"):
                return False
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            pass
    with path.open("r+b") as file:
        held = file.read(_PAGE)
        page = _first_page(copy, held)
        if page is None:
            return False
        file.seek(0)
        file.write(page)
        file.flush()
        os.fsync(file.fileno())
    return True


def _definitions(connection: sqlite3.Connection) -> list[list[Any]]:
    lines = connection.execute("SELECT name, rootpage, sql FROM sqlite_master").fetchall()
    return [list(line) for line in lines]


def _first_page(copy: object, held: bytes) -> bytes | None:
    try:
        assert isinstance(copy, dict)
        kept = {key: value for key, value in copy.items() if key != "crc"}
        if copy["crc"] != _crc(kept) or int.from_bytes(held[_COOKIE], "big") != kept["cookie"]:
            return None
        page = bytearray(_made(kept["definitions"]))
    except (AssertionError, KeyError, TypeError, ValueError, sqlite3.Error):
        return None
    if len(held) != _PAGE or page[100] != _LEAF:
        return None
    page[18:20] = b"\x02\x02"  # a write-ahead log, which a database in memory has not
    page[_COUNTERS], page[_VERSIONS] = held[_COUNTERS], held[_VERSIONS]
    return bytes(page)


def _made(definitions: list[tuple[str, int, str | None]]) -> bytes:
    """The first page of a database with these definitions at these root pages."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={_PAGE}")
        for _, _, statement in definitions:
            if statement is not None:
                connection.execute(statement)
        connection.execute("PRAGMA writable_schema=ON")
        connection.executemany(
            "UPDATE sqlite_master SET rootpage = ? WHERE name = ?",
            [(root, name) for name, root, _ in definitions],
        )
        return connection.serialize()[:_PAGE]
    finally:
        connection.close()


def _crc(kept: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(kept, sort_keys=True).encode())
