"""Which passages a language model has read for the graph, and what it found in them.

A mark says that a passage was read, so that whoever pays for reading pays once: a build that was
stopped goes on where it was. Marks go by row, and rows are never used again, so what was read in a
document that has been replaced meanwhile finds no place, even where the new text has the same
length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hoptrail.rag.catalogue import Connection
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.scope import Rows
from hoptrail.rag.triples import write_triples

# What failed before comes last: a few hopeless passages must not stand before all others.
_UNREAD = (
    "SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc "
    "LEFT JOIN read_by r ON r.row = p.row AND r.model = ? "
    "WHERE r.row IS NULL OR r.failure <> '' ORDER BY r.row IS NOT NULL, p.row"
)
_FAILED = (
    "SELECT count(*) FROM read_by r JOIN passages p ON p.row = r.row "
    "WHERE r.model = ? AND r.failure <> ''"
)
_ALIVE = "SELECT 1 FROM passages p JOIN documents d ON d.doc = p.doc WHERE p.row = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model's reading of one passage came to."""

    row: int
    triples: Sequence[tuple[str, str, str]] = ()
    """Subject, relation and object, none of them blank."""
    failure: str = ""
    """Why it gave nothing; empty: it was read. A passage that failed counts as unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of readings."""

    generation: int
    """The one that has their triples; the present one if none was new."""
    added: int
    """New triples."""
    gone: int
    """Readings of passages that the store has no longer: nothing was kept of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """The passages that a model has not read."""

    rows: Rows
    """Those never tried first, ascending; then those that failed."""
    failed: int
    """How many of them failed before."""


def check_readings(model: str, readings: Sequence[Reading]) -> None:
    """Raises SettingsError for a model without a name, or a triple that says nothing."""
    if not model.strip():
        raise SettingsError("A reading needs the name of the model that read.")
    for one in readings:
        for triple in one.triples:
            if len(triple) != 3 or not all(_sound(part) for part in triple):
                raise SettingsError(f"{triple!r} is no triple: three texts that are not blank.")


def unread(connection: Connection, model: str) -> Unread:
    """The passages that a model has yet to read; call it inside a transaction."""
    rows = [row for (row,) in connection.execute(_UNREAD, (model,))]
    failed = connection.execute(_FAILED, (model,)).fetchone()[0]
    return Unread(rows=np.array(rows, dtype=np.int64), failed=failed)


def keep(connection: Connection, model: str, readings: Sequence[Reading]) -> tuple[int, int]:
    """Writes marks and triples, inside a write transaction.

    Returns:
        How many triples are new, and how many passages are gone.
    """
    alive = [one for one in readings if connection.execute(_ALIVE, (one.row,)).fetchone()]
    connection.executemany(
        "INSERT OR REPLACE INTO read_by VALUES (?, ?, ?)",
        ((one.row, model, one.failure) for one in alive),
    )
    placed: dict[int, set[tuple[str, str, str]]] = {}
    for one in alive:
        if one.triples:
            parts = {(s.strip(), r.strip(), o.strip()) for s, r, o in one.triples}
            placed.setdefault(one.row, set()).update(parts)
    return write_triples(connection, placed), len(readings) - len(alive)


def _sound(part: object) -> bool:
    if not isinstance(part, str) or not part.strip():
        return False
    return not any("\ud800" <= character <= "\udfff" for character in part)
