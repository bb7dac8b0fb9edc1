"""Documents that a program has in memory, stored as an ingest stores those of files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError, StoreMismatch
from hoptrail.rag.ingest.batching import checked_vectors
from hoptrail.rag.ingest.chunking import DocumentChunker
from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.parser import ParseLimits, Parser
from hoptrail.rag.store.commit import check_document
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Document, IndexedDocument, embedding_text

_SLICE = 64
"""Passages embedded at once."""


def put_documents(
    store: Store,
    embedder: Embedder,
    documents: Sequence[Document],
    *,
    chunk_tokens: int = 180,
    limits: ParseLimits | None = None,
) -> int:
    """Adds or replaces documents in one commit: all of them, or none.

    Args:
        store: opened for the same embedder.
        embedder: makes the passages' vectors.
        documents: of different ids. They have no file: an ingest of one with the same id and text
            takes the document over, and one with another text is refused.
        chunk_tokens: most cl100k_base tokens of a passage.
        limits: of the time and memory for splitting a text.

    Returns:
        The generation that has them.

    Raises:
        SettingsError: a document is malformed, or its text cannot be split within the limits.
        StoreMismatch: the store was made with another embedder.
        EmbedderError: the embedder failed.
        StoreError: the store is being written by another, or its disk is full.
    """
    if embedder.id != store.spec.embedder:
        raise StoreMismatch(
            f"The store was made with the embedder {store.spec.embedder!r}, not {embedder.id!r}."
        )
    known, puts = store.fingerprints(), []
    chunker = DocumentChunker(
        embedder, budget=chunk_tokens, overlap=0, language=store.spec.language
    )
    with Parser(limits) as parser:
        chunker.split = parser.passage_spans
        for document in documents:
            check_document(document)
            fingerprint = chunker.fingerprint(document, is_record=False)
            if known.get(document.id) == fingerprint:
                continue
            try:
                passages = chunker.passages(document, is_record=False)
            except UnreadableFile as refused:
                raise SettingsError(
                    f"The document {document.id!r} {refused.reason}: store it in parts."
                ) from refused
            texts = [embedding_text(passage) for passage in passages]
            slices = [texts[at : at + _SLICE] for at in range(0, len(texts), _SLICE)]
            empty = np.zeros((0, embedder.dimension), dtype=np.float32)
            puts.append(
                IndexedDocument(
                    document=document,
                    passages=passages,
                    vectors=np.concatenate(
                        [empty, *(checked_vectors(embedder, part) for part in slices)]
                    ),
                    fingerprint=fingerprint,
                )
            )
    return store.commit(puts)
