"""Triples that a language model extracted from passages: checks, storage, passages still unread.

They are the user's own data: nothing else in the store could give them back. Each belongs to one
passage, whose traces then mention its subject and its object, and goes away with its document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.errors import SettingsError, StoreDamaged
from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.graph_index.tables import key_bytes, keys_of, named_in
from hoptrail.rag.store.graph_index.triple_crcs import seal_triples
from hoptrail.rag.types import Rows

_WHOLE = "SELECT doc, rows FROM documents WHERE id = ?"
_PASSAGE = (
    "SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc WHERE p.id = ? AND d.id = ?"
)
_MENTIONED = "SELECT row FROM mentions WHERE key = ? AND row >= ? AND row < ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """A relation between two names, and the document or passage it was extracted from."""

    document_id: str
    subject: str
    relation: str
    object: str
    passage_id: str | None = None
    """None: the first passage that mentions both names, or else one of them, or else the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """Result of an import of triples."""

    generation: int
    """Generation that has the triples; the present one if all were known."""
    added: int
    known: int
    """Triples that were in the store before, or twice in the import."""
    unplaced: tuple[Triple, ...]
    """Triples of unknown documents or passages, which were not imported."""


def check_triples(triples: Iterable[Triple]) -> None:
    """Raises SettingsError for a triple that is empty in a part, or is not valid Unicode."""
    for number, triple in enumerate(triples, start=1):
        for part in fields(triple):
            value = getattr(triple, part.name)
            if value is None and part.name == "passage_id":
                continue
            if not isinstance(value, str) or not value.strip():
                raise SettingsError(
                    f"Triple {number} has the {part.name} {value!r}: it must be a text that is "
                    "not blank."
                )
            try:
                value.encode()
            except UnicodeEncodeError:
                raise SettingsError(
                    f"The {part.name} of triple {number} is not valid Unicode (a lone surrogate): "
                    f"{value!r}."
                ) from None


def insert_triples(
    connection: Connection, triples: Sequence[Triple]
) -> tuple[int, tuple[Triple, ...]]:
    """Inserts triples and the mentions that follow from them, inside a write transaction.

    Returns:
        How many are new, and those that no passage was found for.
    """
    placed: dict[int, set[tuple[str, str, str]]] = {}
    unplaced = []
    for triple in triples:
        row = _row(connection, triple)
        if row is None:
            unplaced.append(triple)
        else:
            parts = (triple.subject.strip(), triple.relation.strip(), triple.object.strip())
            placed.setdefault(row, set()).add(parts)
    return write_triples(connection, placed), tuple(unplaced)


def write_triples(
    connection: Connection, placed: Mapping[int, Iterable[tuple[str, str, str]]]
) -> int:
    """Inserts triples of live rows, inside a write transaction; returns the new ones."""
    before = connection.total_changes
    connection.executemany(
        "INSERT OR IGNORE INTO triples VALUES (?, ?, ?, ?)",
        ((row, *parts) for row, found in sorted(placed.items()) for parts in sorted(found)),
    )
    added = connection.total_changes - before
    for row, found in sorted(placed.items()):
        _mention(connection, row, found)
    seal_triples(connection, placed)
    return added


def _row(connection: Connection, triple: Triple) -> int | None:
    """The row a triple belongs to; None if there is none."""
    if triple.passage_id is not None:
        found = connection.execute(_PASSAGE, (triple.passage_id, triple.document_id)).fetchone()
        return None if found is None else int(found[0])
    doc, rows = connection.execute(_WHOLE, (triple.document_id,)).fetchone() or (0, 0)
    if not rows:
        return None
    span = (doc, doc + rows)
    subject, thing = (
        {row for (row,) in connection.execute(_MENTIONED, (entity_key(name), *span))}
        for name in (triple.subject, triple.object)
    )
    return int(min(subject & thing or subject or thing or {doc}))


def _mention(connection: Connection, row: int, found: Iterable[tuple[str, str, str]]) -> None:
    """Adds the names of triples to the mentions of a row."""
    line = connection.execute("SELECT mentions FROM traces WHERE row = ?", (row,)).fetchone()
    if line is None:
        raise StoreDamaged(f"Row {row} has no links in the catalogue: run hoptrail fsck --repair.")
    held = set(keys_of(line[0]).tolist())
    more = set().union(*(named_in(subject, thing) for subject, _, thing in found)) - held
    if more:
        blob = key_bytes(sorted(held | more))
        connection.execute("UPDATE traces SET mentions = ? WHERE row = ?", (blob, row))
        connection.executemany(
            "INSERT OR IGNORE INTO mentions VALUES (?, ?)", ((key, row) for key in sorted(more))
        )


# Passages that failed before come last, so that a few hopeless ones do not hold up the others.
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
class Extraction:
    """Triples that a model extracted from one passage, or why it failed."""

    row: int
    triples: Sequence[tuple[str, str, str]] = ()
    """Subject, relation and object, none of them blank."""
    failure: str = ""
    """Reason of a failure; empty: success. A passage that failed counts as unread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveResult:
    """Result of saving extractions."""

    generation: int
    """Generation that has the triples; the present one if none was new."""
    added: int
    """Number of new triples."""
    gone: int
    """Number of extractions whose passages were deleted; nothing of them was saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingPassages:
    """Passages from which a model has not extracted triples yet."""

    rows: Rows
    """Passages never tried, ascending; then those that failed."""
    failed: int
    """Number of them that failed before."""


def check_extractions(model: str, readings: Sequence[Extraction]) -> None:
    """Raises SettingsError for a model without a name, or a triple with a blank part."""
    if not model.strip():
        raise SettingsError("An extraction needs the name of its model.")
    for one in readings:
        for triple in one.triples:
            if len(triple) != 3 or not all(_sound(part) for part in triple):
                raise SettingsError(f"{triple!r} is no triple: three texts that are not blank.")


def unread(connection: Connection, model: str) -> PendingPassages:
    """The passages that a model has not read; call it inside a transaction."""
    rows = [row for (row,) in connection.execute(_UNREAD, (model,))]
    failed = connection.execute(_FAILED, (model,)).fetchone()[0]
    return PendingPassages(rows=np.array(rows, dtype=np.int64), failed=failed)


def save_extractions(
    connection: Connection, model: str, readings: Sequence[Extraction]
) -> tuple[int, int]:
    """Saves extractions: marks passages as read, inserts triples, inside a write transaction.

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
    added = write_triples(connection, placed)
    seal_triples(connection, (one.row for one in alive))
    return added, len(readings) - len(alive)


def _sound(part: object) -> bool:
    if not isinstance(part, str) or not part.strip():
        return False
    return not any("\ud800" <= character <= "\udfff" for character in part)
