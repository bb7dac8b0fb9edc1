"""Checksum of the meta table, and the copy of the table beside the catalogue.

The checksum is a row of the table itself, renewed in each write transaction. The copy,
`manifest.json`, is written after each commit: a catalogue of an earlier generation than its copy
has lost commits (a damaged write-ahead log, an older file put back), and a meta table or table
definitions (`schema_page`) that were damaged are restored from it. A store without either gains
them with its next commit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Mapping
from pathlib import Path

from hoptrail.rag.store.catalogue.database import Connection, meta
from hoptrail.rag.store.catalogue.schema_page import schema_copy

CHECKSUM = "checksum"
SEALS = ("lexical_seal", "dense_seal")
"""Checksums of the files of the two indexes as of the last commit; null while one is written."""
FILE = "manifest.json"

_OWN = {CHECKSUM, *SEALS}
"""Keys that the copy leaves out: they hold for one state of the files."""
_LOG = logging.getLogger(__name__)

Values = Mapping[str, str | int]


class ManifestDamaged(ValueError):
    """The copy cannot be parsed, or does not have its own checksum."""


def checksum(values: Mapping[str, object]) -> int:
    """CRC-32 of the table without its own row."""
    lines = sorted((key, value) for key, value in values.items() if key != CHECKSUM)
    return zlib.crc32(json.dumps(lines, default=repr).encode())


def is_intact(values: Values) -> bool:
    """Whether the table has its checksum; one without any counts as intact."""
    return CHECKSUM not in values or values[CHECKSUM] == checksum(values)


def seal_meta(connection: sqlite3.Connection) -> None:
    """Renews the checksum, inside a write transaction."""
    values = meta(connection)
    right = checksum(values)
    if values.get(CHECKSUM) != right:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (CHECKSUM, right))


def save_manifest(connection: Connection) -> None:
    """Writes the copy unless it is there; the writer's lock must be held.

    A failure is only logged: the commit that it follows has been made.
    """
    if connection.folder is None:
        return
    kept = {key: value for key, value in meta(connection).items() if key not in _OWN}
    cookie = connection.execute("PRAGMA schema_version").fetchone()[0]
    shown = {**kept, "next_row": 0, "cookie": cookie}
    if shown == connection.saved:
        # Row numbers alone are reserved before a commit, which writes the copy.
        return
    new = connection.folder / f"{FILE}.new"
    try:
        record = {"crc": checksum(kept), "meta": kept, "schema": schema_copy(connection)}
        new.write_text(json.dumps(record))
        new.replace(connection.folder / FILE)
    except OSError as error:
        _LOG.warning("%s: the copy of the settings was not written (%s)", connection.folder, error)
        with contextlib.suppress(OSError):
            os.unlink(new)
        return
    connection.saved = shown


def read_manifest(folder: Path) -> dict[str, str | int] | None:
    """The copy; None if there is none.

    Raises:
        ManifestDamaged: it does not have its checksum.
    """
    try:
        content = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return None
    if not content:
        # A power cut may leave the name without the content.
        return None
    try:
        record = json.loads(content)
        values: dict[str, str | int] = record["meta"]
        right = record["crc"] == checksum(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestDamaged(f"the copy of the settings cannot be parsed ({error})") from error
    if not right:
        raise ManifestDamaged("the copy of the settings has changed under its checksum")
    return values


def read_schema(folder: Path) -> object:
    """The copy of the table definitions, as `schema_page` keeps it; None if there is none."""
    try:
        return json.loads((folder / FILE).read_bytes())["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lost_commits(folder: Path, values: Values) -> int:
    """How many commits the copy has seen and the meta table does not know; call it under the lock.

    A copy that is missing or damaged has seen none.
    """
    try:
        copy = read_manifest(folder)
        return max(0, int((copy or {}).get("generation", 0)) - int(values["generation"]))
    except (ManifestDamaged, KeyError, TypeError, ValueError):
        return 0
