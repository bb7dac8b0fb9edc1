"""Triples that a language model has read out of passages, imported by whoever has them.

They are the user's own data: nothing else in the store could give them back. Each belongs to one
passage, whose traces then mention its subject and its object, and goes away with its document.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from hoptrail.rag.catalogue import Connection
from hoptrail.rag.entities.extraction import entity
from hoptrail.rag.errors import SettingsError, StoreDamaged
from hoptrail.rag.linking import key_bytes, keys_of, named_in

_WHOLE = "SELECT doc, rows FROM documents WHERE id = ?"
_PASSAGE = (
    "SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc WHERE p.id = ? AND d.id = ?"
)
_MENTIONED = "SELECT row FROM mentions WHERE key = ? AND row >= ? AND row < ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Triple:
    """A relation between two names, and where it was read."""

    document_id: str
    subject: str
    relation: str
    object: str
    passage_id: str | None = None
    """None: the first passage that mentions both names, or else one of them, or else the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of an import."""

    generation: int
    """The one that has the triples; the present one if all were known already."""
    added: int
    known: int
    """Stood in the store before, or twice in the import."""
    unplaced: tuple[Triple, ...]
    """Of documents or passages that the store does not have: nothing was kept of them."""


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


def attach(connection: Connection, triples: Sequence[Triple]) -> tuple[int, tuple[Triple, ...]]:
    """Writes triples and what they make their rows mention, inside a write transaction.

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
    """Writes the triples of rows that are alive, inside a write transaction; returns the new."""
    before = connection.total_changes
    connection.executemany(
        "INSERT OR IGNORE INTO triples VALUES (?, ?, ?, ?)",
        ((row, *parts) for row, found in sorted(placed.items()) for parts in sorted(found)),
    )
    added = connection.total_changes - before
    for row, found in sorted(placed.items()):
        _mention(connection, row, found)
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
        {row for (row,) in connection.execute(_MENTIONED, (entity(name), *span))}
        for name in (triple.subject, triple.object)
    )
    return int(min(subject & thing or subject or thing or {doc}))


def _mention(connection: Connection, row: int, found: Iterable[tuple[str, str, str]]) -> None:
    """Adds the names of triples to what a row mentions."""
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
