"""One commit: row numbers burnt, vectors and words on disk, and only then the catalogue's."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hoptrail.rag import journal
from hoptrail.rag.catalogue import Connection
from hoptrail.rag.facets import facets
from hoptrail.rag.parts import Parts
from hoptrail.rag.scope import Batch, Entry
from hoptrail.rag.types import IndexedDocument, embedding_text


def commit(
    parts: Parts, writer: Connection, puts: Sequence[IndexedDocument], deletes: Collection[str]
) -> int:
    """Replaces and deletes documents as a whole; the writer's lock must be held.

    Returns:
        The generation that has the change, or the present one if nothing changed.
    """
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
            journal.sweep(writer, died)
            born = [(one.doc, len(one.item.passages)) for one in placed]
            if parts.dense.deferred:
                journal.post(writer, born, died)
            generation = journal.log(writer, born, died)
    parts.dense.settle(writer)
    return generation


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
