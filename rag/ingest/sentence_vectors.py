"""Fills in the sentence vectors of a store, after its documents are committed.

They make answering without a model several times faster: a refiner compares every sentence that it
reads with the question. Making them costs about as much time again as embedding the passages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.ingest.batching import checked_vectors
from hoptrail.rag.store.catalogue.sentence_table import SentenceVectors
from hoptrail.rag.store.store import Store
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.types import Passage, sentence_text

_BATCH = 32
"""Passages that are embedded and saved together: what a kill costs."""


def store_sentence_vectors(
    store: Store, embedder: Embedder, on_progress: Callable[[int], None] | None = None
) -> int:
    """Embeds the sentences of every passage that has no sentence vectors yet.

    What was saved stays, whatever ends it early; called again, it goes on from there.

    Args:
        store: its documents are committed already.
        embedder: the one that the store was made with.
        on_progress: called with the number of passages done so far.

    Returns:
        The number of passages that got theirs.

    Raises:
        EmbedderError: the embedder failed.
        StoreError: the store is being written by another, or its disk is full.
    """
    done, last = 0, -1
    while passages := store.sentences.missing(after=last, most=_BATCH):
        found = embedded_sentences(list(passages.values()), embedder)
        store.sentences.save(dict(zip(passages, found, strict=True)))
        done, last = done + len(passages), max(passages)
        if on_progress is not None:
            on_progress(done)
    return done


def embedded_sentences(passages: Sequence[Passage], embedder: Embedder) -> list[SentenceVectors]:
    """The sentences of each passage, and their vectors."""
    spans = [sentences(passage.text) for passage in passages]
    texts = [
        sentence_text(passage, start, end)
        for passage, found in zip(passages, spans, strict=True)
        for start, end in found
    ]
    vectors = checked_vectors(embedder, texts)
    made, at = [], 0
    for found in spans:
        own = np.array(found, dtype=np.int32).reshape(len(found), 2)
        made.append(SentenceVectors(spans=own, vectors=vectors[at : at + len(found)]))
        at += len(found)
    return made
