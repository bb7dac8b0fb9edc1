"""Batching of documents into commits: embedded in slices, committed whole, then acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import (
    Document,
    IndexedDocument,
    Origin,
    Passage,
    Vectors,
    embedding_text,
)

_FIRST_SLICE, _LEAST_SLICE = 32, 8
"""Passages embedded at once, at first and at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkedDocument:
    """A document split into passages, not embedded yet."""

    document: Document
    passages: Sequence[Passage]
    fingerprint: str
    origin: Origin
    replaces: bool
    """The store has another version of it."""


class CommitBatch:
    """The batch of documents of the next commit.

    A commit holds at most `most_passages` passages unless one document has more, and is made when
    that many are waiting or the first has waited `most_seconds`; the clock is read when a document
    is added and on each `tick`. How many passages are embedded at once follows the embedder: more
    while a slice takes less than 1/8 of `most_seconds`, fewer when it takes more than half.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        most_passages: int,
        most_seconds: float,
        clock: Callable[[], float],
        acknowledge: Callable[[ChunkedDocument, int], None],
    ) -> None:
        """`acknowledge` gets each document with its generation, after the commit."""
        self._store, self._embedder = store, embedder
        self._most_passages, self._most_seconds = most_passages, most_seconds
        self._clock, self._acknowledge = clock, acknowledge
        self._slice = min(_FIRST_SLICE, most_passages)
        self._clear()

    def add(self, prepared: ChunkedDocument) -> None:
        """Takes a document in; commits when it is time.

        Raises:
            EmbedderError, StoreError: nothing of the present batch was committed.
        """
        if self._documents and self._size + len(prepared.passages) > self._most_passages:
            self.flush()
        if not self._documents:
            self._since = self._clock()
        self._documents.append(prepared)
        self._size += len(prepared.passages)
        self._texts.extend(embedding_text(passage) for passage in prepared.passages)
        while len(self._texts) >= self._slice:
            self._embed(self._slice)
        if self._size >= self._most_passages:
            self.flush()
        self.tick()

    def tick(self) -> None:
        """Commits if the first document has waited long enough."""
        if self._documents and self._clock() - self._since >= self._most_seconds:
            self.flush()

    def flush(self) -> None:
        """Embeds what is left, commits, and acknowledges every document."""
        while self._texts:
            self._embed(self._slice)
        if not self._documents:
            return
        empty = np.zeros((0, self._embedder.dimension), dtype=np.float32)
        vectors = np.concatenate([empty, *self._vectors])
        puts, row = [], 0
        for prepared in self._documents:
            end = row + len(prepared.passages)
            puts.append(_indexed(prepared, vectors[row:end]))
            row = end
        generation = self._store.commit(puts)
        done = self._documents
        self._clear()
        for prepared in done:
            self._acknowledge(prepared, generation)

    def _clear(self) -> None:
        self._documents: list[ChunkedDocument] = []
        self._texts: list[str] = []
        self._vectors: list[Vectors] = []
        self._size = 0
        self._since = self._clock()

    def _embed(self, count: int) -> None:
        texts, self._texts = self._texts[:count], self._texts[count:]
        began = self._clock()
        self._vectors.append(checked_vectors(self._embedder, texts))
        took = self._clock() - began
        if took < self._most_seconds / 8:
            self._slice = min(2 * self._slice, self._most_passages)
        elif took > self._most_seconds / 2:
            self._slice = max(self._slice // 2, min(_LEAST_SLICE, self._most_passages))


def checked_vectors(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """The vectors of texts.

    Raises:
        EmbedderError: the embedder failed, or gave vectors of another shape.
    """
    vectors = embedder.embed(texts)
    wanted = (len(texts), embedder.dimension)
    if vectors.shape != wanted:
        raise EmbedderError(
            f"The embedder {embedder.id!r} gave vectors of shape {vectors.shape} for "
            f"{len(texts)} texts, not {wanted}. Check its dimension."
        )
    return vectors


def _indexed(prepared: ChunkedDocument, vectors: Vectors) -> IndexedDocument:
    return IndexedDocument(
        document=prepared.document,
        passages=prepared.passages,
        vectors=vectors,
        fingerprint=prepared.fingerprint,
        origin=prepared.origin,
    )
