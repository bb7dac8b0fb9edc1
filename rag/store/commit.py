"""Commit protocol: allocate rows, write vectors and words to disk, then commit the catalogue.

Row numbers are allocated first, then vectors and index entries reach the disk, and the commit of
the catalogue comes last: only that makes the change visible.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from hoptrail.rag.entities.extraction import PassageEntities
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.backends import Backends
from hoptrail.rag.store.catalogue import origins, sentence_table
from hoptrail.rag.store.catalogue import writes as journal
from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.store.graph_index import tables as linking
from hoptrail.rag.store.graph_index.triples import (
    Extraction,
    ImportResult,
    SaveResult,
    Triple,
    insert_triples,
    save_extractions,
)
from hoptrail.rag.store.types import IndexBatch, IndexEntry
from hoptrail.rag.types import Document, IndexedDocument, Passage, embedding_text, passage_id

_LONGEST_ID, _LONGEST_TITLE, _LONGEST_KEY, _LONGEST_VALUE = 4096, 1000, 1000, 10_000
_MOST_KEYS = 200
"""Bounds of a document's fields, in characters, and of its metadata."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """The documents that one commit puts and deletes."""

    puts: Sequence[IndexedDocument]
    deletes: Collection[str]
    traces: Sequence[Sequence[PassageEntities]] | None
    """By document of `puts`, its passages' entities; None: the store has no passage graph."""


def commit(parts: Backends, writer: Connection, change: CommitRequest) -> int:
    """Replaces and deletes documents as a whole; the writer's lock must be held.

    Returns:
        The generation that has the change, or the present one if nothing changed.
    """
    puts, deletes = change.puts, change.deletes
    going = [*(item.document.id for item in puts), *deletes]
    passages = journal.passages_without(writer, going) + sum(len(one.passages) for one in puts)
    for backend in (parts.lexical, parts.dense):
        backend.admit(passages)
    if not puts and not journal.knows_any(writer, deletes):
        return journal.number(writer, "generation")
    needed = journal.rows_needed(puts)
    first = _begun(writer, needed)
    placed = journal.assign_rows(first, puts)
    with journal.writing(writer):
        died = journal.remove(writer, going)
        swept = [span for span in journal.garbage_rows(writer) if span != (first, needed)]
        batch = _batch(placed, swept)
        epochs = [journal.number(writer, key) for key in ("lexical_epoch", "dense_epoch")]
        # The lexical index works in a thread of its own while the rest is written.
        with parts.lexical.write(epochs[0], batch), parts.dense.write(epochs[1], batch):
            journal.insert(writer, placed)
            origins.remove(writer, died)
            origins.insert(writer, placed)
            if change.traces is not None:
                linking.clear(writer, died)
                linking.write(writer, _linked(placed, change.traces))
            sentence_table.remove(writer, died)
            journal.mark_garbage(writer, died)
            born = [(one.doc, len(one.item.passages)) for one in placed]
            if parts.dense.deferred:
                journal.add_to_outbox(writer, born, died)
            generation = journal.record_generation(writer, born, died)
            linking.mark(writer, generation)
        journal.put_seal(writer, "lexical_seal", parts.lexical.seal(epochs[0]))
    parts.dense.settle(writer)
    return generation


def _begun(writer: Connection, needed: int) -> int:
    """The first of `needed` new rows; records that the lexical index is about to change."""
    if needed:
        return journal.allocate_rows(writer, needed)
    with journal.writing(writer):
        journal.put_seal(writer, "lexical_seal", None)
    return 0


def import_triples(writer: Connection, triples: Sequence[Triple]) -> ImportResult:
    """Adds triples to the graph as a generation of its own; the writer's lock must be held."""
    with journal.writing(writer):
        added, unplaced = insert_triples(writer, triples)
        generation = journal.number(writer, "generation")
        if added:
            generation = journal.record_generation(writer, [], [])
            linking.mark(writer, generation)
    known = len(triples) - added - len(unplaced)
    return ImportResult(generation=generation, added=added, known=known, unplaced=unplaced)


def commit_extractions(
    writer: Connection, model: str, readings: Sequence[Extraction]
) -> SaveResult:
    """Stores the triples that a model extracted; the writer's lock must be held.

    New triples make a generation; a passage marked as read changes nothing that a search could see.
    """
    with journal.writing(writer):
        added, gone = save_extractions(writer, model, readings)
        generation = journal.number(writer, "generation")
        if added:
            generation = journal.record_generation(writer, [], [])
            linking.mark(writer, generation)
    return SaveResult(generation=generation, added=added, gone=gone)


def _linked(
    placed: Sequence[journal.Placed], traces: Sequence[Sequence[PassageEntities]]
) -> list[linking.EntityRow]:
    return [
        row
        for one, found in zip(placed, traces, strict=True)
        for row in linking.linked(one.doc, found)
    ]


def _batch(placed: Sequence[journal.Placed], swept: Sequence[journal.Span]) -> IndexBatch:
    entries = [
        IndexEntry(
            row=one.doc + at,
            passage_id=passage.id,
            words=embedding_text(passage),
            facets=wanted,
        )
        for one in placed
        for wanted in (filter_tokens(one.item.document.metadata),)
        for at, passage in enumerate(one.item.passages)
    ]
    vectors = [one.item.vectors for one in placed if len(one.item.passages)]
    return IndexBatch(
        entries=entries,
        vectors=np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32),
        swept=swept,
    )


LONGEST = 1.001
"""Greatest L2 norm of a vector; the exact index assumes unit vectors within this margin."""


def check_puts(puts: Sequence[IndexedDocument], dimension: int) -> None:
    """Raises SettingsError unless every document, passage and vector is sound."""
    seen: set[str] = set()
    for item in puts:
        document = item.document
        if document.id in seen:
            raise SettingsError(f"The document {document.id!r} stands twice in one commit.")
        seen.add(document.id)
        check_document(document)
        _check_vectors(item, dimension)
        offsets = set()
        for passage in item.passages:
            _check_passage(passage, document)
            offsets.add((passage.start, passage.end))
        if len(offsets) < len(item.passages):
            raise SettingsError(f"The document {document.id!r} has one passage twice.")


def check_deletes(puts: Sequence[IndexedDocument], deletes: Collection[str]) -> None:
    """Raises SettingsError if a document is to be put and deleted at once."""
    if isinstance(deletes, str):
        raise SettingsError(f"`deletes` must be a collection of ids, not the string {deletes!r}.")
    both = {item.document.id for item in puts} & set(deletes)
    if both:
        raise SettingsError(f"The document {min(both)!r} is both put and deleted in one commit.")


def check_document(document: Document) -> None:
    """Raises SettingsError unless a store can hold the document."""
    if not document.id:
        raise SettingsError("A document needs an id that is not empty.")
    try:
        filter_tokens(document.metadata)
    except UnicodeEncodeError:
        raise SettingsError(
            f"The metadata of document {document.id!r} is not valid Unicode (a lone surrogate): "
            "replace it before ingesting."
        ) from None
    _check_bounds(document)
    for name, text in (("id", document.id), ("title", document.title), ("text", document.text)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"The {name} of document {document.id!r} is not valid Unicode (a lone surrogate at "
                f"character {error.start}): replace it before ingesting."
            ) from None


def _check_bounds(document: Document) -> None:
    """Refuses what is repeated with each passage and would cost the square of its size."""
    lengths = [
        ("id", len(document.id), _LONGEST_ID),
        ("title", len(document.title), _LONGEST_TITLE),
        ("number of metadata keys", len(document.metadata), _MOST_KEYS),
    ]
    for key, value in document.metadata.items():
        lengths.append((f"metadata key {key!r:.60}", len(key), _LONGEST_KEY))
        if isinstance(value, str):
            lengths.append((f"metadata {key!r:.60}", len(value), _LONGEST_VALUE))
    for name, length, most in lengths:
        if length > most:
            raise SettingsError(
                f"The {name} of document {document.id!r:.60} is {length:,}, above {most:,}: "
                "shorten it, or move it into the text."
            )


def _check_passage(passage: Passage, document: Document) -> None:
    start, end = passage.start, passage.end
    if passage.document_id != document.id or passage.title != document.title:
        raise SettingsError(f"The passage {passage.id!r} is not one of document {document.id!r}.")
    if not 0 <= start < end <= len(document.text) or document.text[start:end] != passage.text:
        raise SettingsError(
            f"The passage {passage.id!r} is not characters {start} to {end} of {document.id!r}."
        )
    if passage.id != passage_id(document.id, start, end):
        raise SettingsError(f"The passage id {passage.id!r} does not follow from its offsets.")


def _check_vectors(item: IndexedDocument, dimension: int) -> None:
    vectors = item.vectors
    wanted = (len(item.passages), dimension)
    if not item.passages and len(vectors) == 0:
        return
    if vectors.shape != wanted or vectors.dtype != np.float32:
        raise SettingsError(
            f"The document {item.document.id!r} needs vectors of shape {wanted} float32, not "
            f"{vectors.shape} {vectors.dtype}."
        )
    norms = np.einsum("ij,ij->i", vectors, vectors)
    if not (norms <= LONGEST**2).all():
        raise SettingsError(
            f"The vectors of document {item.document.id!r} are not L2-normalised finite numbers."
        )
