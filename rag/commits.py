"""One commit: row numbers burnt, vectors and words on disk, and only then the catalogue's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hoptrail.rag import journal, linking
from hoptrail.rag.catalogue import Connection
from hoptrail.rag.entities.extraction import Traces
from hoptrail.rag.facets import facets
from hoptrail.rag.parts import Parts
from hoptrail.rag.readings import Kept, Reading, keep
from hoptrail.rag.scope import Batch, Entry
from hoptrail.rag.triples import Imported, Triple, attach
from hoptrail.rag.types import IndexedDocument, embedding_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one commit puts and deletes."""

    puts: Sequence[IndexedDocument]
    deletes: Collection[str]
    traces: Sequence[Sequence[Traces]] | None
    """Of each of `puts`; None: the store has no passage graph."""


def commit(parts: Parts, writer: Connection, change: Change) -> int:
    """Replaces and deletes documents as a whole; the writer's lock must be held.

    Returns:
        The generation that has the change, or the present one if nothing changed.
    """
    puts, deletes = change.puts, change.deletes
    going = [*(item.document.id for item in puts), *deletes]
    passages = journal.passages_without(writer, going) + sum(len(one.passages) for one in puts)
    for keeper in (parts.lexical, parts.dense):
        keeper.admit(passages)
    needed = journal.rows_needed(puts)
    first = journal.burn(writer, needed) if needed else 0
    placed = journal.place(first, puts)
    with journal.writing(writer):
        died = journal.remove(writer, going)
        if not puts and not died:
            return journal.number(writer, "generation")
        swept = [span for span in journal.garbage(writer) if span != (first, needed)]
        batch = _batch(placed, swept)
        epochs = [journal.number(writer, key) for key in ("lexical_epoch", "dense_epoch")]
        # The lexical index works in a thread of its own while the rest is written.
        with parts.lexical.write(epochs[0], batch), parts.dense.write(epochs[1], batch):
            journal.insert(writer, placed)
            if change.traces is not None:
                linking.clear(writer, died)
                linking.write(writer, _linked(placed, change.traces))
            journal.sweep(writer, died)
            born = [(one.doc, len(one.item.passages)) for one in placed]
            if parts.dense.deferred:
                journal.post(writer, born, died)
            generation = journal.log(writer, born, died)
            linking.mark(writer, generation)
    parts.dense.settle(writer)
    return generation


def import_triples(writer: Connection, triples: Sequence[Triple]) -> Imported:
    """Adds triples to the graph as a generation of its own; the writer's lock must be held."""
    with journal.writing(writer):
        added, unplaced = attach(writer, triples)
        generation = journal.number(writer, "generation")
        if added:
            generation = journal.log(writer, [], [])
            linking.mark(writer, generation)
    known = len(triples) - added - len(unplaced)
    return Imported(generation=generation, added=added, known=known, unplaced=unplaced)


def keep_readings(writer: Connection, model: str, readings: Sequence[Reading]) -> Kept:
    """Keeps what a model has read; the writer's lock must be held.

    New triples make a generation; a mark alone changes nothing that a search could see.
    """
    with journal.writing(writer):
        added, gone = keep(writer, model, readings)
        generation = journal.number(writer, "generation")
        if added:
            generation = journal.log(writer, [], [])
            linking.mark(writer, generation)
    return Kept(generation=generation, added=added, gone=gone)


def _linked(
    placed: Sequence[journal.Placed], traces: Sequence[Sequence[Traces]]
) -> list[linking.Linked]:
    return [
        row
        for one, found in zip(placed, traces, strict=True)
        for row in linking.linked(one.doc, found)
    ]


def _batch(placed: Sequence[journal.Placed], swept: Sequence[journal.Span]) -> Batch:
    entries = [
        Entry(
            row=one.doc + at,
            passage_id=passage.id,
            words=embedding_text(passage),
            facets=wanted,
        )
        for one in placed
        for wanted in (facets(one.item.document.metadata),)
        for at, passage in enumerate(one.item.passages)
    ]
    vectors = [one.item.vectors for one in placed if len(one.item.passages)]
    return Batch(
        entries=entries,
        vectors=np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32),
        swept=swept,
    )
