"""Synthetic corpora for timing a store: Zipf words, clustered unit vectors, documents of 20.

Never random Gaussian vectors: without clusters an approximate index looks far worse than it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Document, IndexedDocument, Passage, passage_id

TYPES = 100_000
WORDS = 100
PER_DOCUMENT = 20
TAGS = 100
_CLUSTERS = 1000
_LETTERS = np.array(list("bcdfghklmnprstvz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Ten terms of one passage and that passage's vector, with noise."""

    text: str
    vector: NDArray[np.float32]
    tag: int


class Corpus:
    """`size` passages, the same for the same seed."""

    def __init__(self, size: int, *, dimension: int = 384, seed: int = 0) -> None:
        self.size = size
        self.dimension = dimension
        self._random = np.random.default_rng(seed)
        self._shares = np.cumsum(1 / np.arange(1, TYPES + 1))
        self._shares /= self._shares[-1]
        self._words = [_word(number) for number in range(TYPES)]
        self._centres = unit(self._random.normal(size=(_CLUSTERS, dimension)))
        self._spread = 0.6 / np.sqrt(dimension)

    def documents(self, first: int = 0, version: int = 0) -> Iterator[IndexedDocument]:
        """The documents from number `first` on."""
        for number in range(first, -(-self.size // PER_DOCUMENT)):
            count = min(PER_DOCUMENT, self.size - number * PER_DOCUMENT)
            yield self.document(number, count, version)

    def document(self, number: int, count: int = PER_DOCUMENT, version: int = 0) -> IndexedDocument:
        """One document of `count` passages, its words and vectors drawn anew on every call."""
        drawn = np.searchsorted(self._shares, self._random.random((count, WORDS)))
        texts = [" ".join(self._words[word] for word in line) for line in drawn.tolist()]
        name = f"document-{number}"
        ends = np.cumsum([len(text) + 1 for text in texts]).tolist()
        starts = [0, *ends[:-1]]
        passages = [
            Passage(
                id=passage_id(name, start, start + len(text)),
                document_id=name,
                start=start,
                end=start + len(text),
                title=name,
                text=text,
            )
            for start, text in zip(starts, texts, strict=True)
        ]
        centres = self._centres[self._random.integers(_CLUSTERS, size=count)]
        noise = self._random.normal(size=(count, self.dimension)) * self._spread
        return IndexedDocument(
            document=Document(
                id=name, title=name, text=" ".join(texts), metadata={"tag": number % TAGS}
            ),
            passages=passages,
            vectors=unit(centres + noise),
            fingerprint=f"{number}-{version}",
        )

    def query(self, source: IndexedDocument) -> Query:
        """A query for one passage of a document."""
        at = int(self._random.integers(len(source.passages)))
        words = source.passages[at].text.split()
        chosen = self._random.choice(len(words), size=10, replace=False)
        noise = self._random.normal(size=self.dimension) * self._spread
        vector = unit((source.vectors[at] + noise)[np.newaxis])[0]
        tag = source.document.metadata["tag"]
        assert isinstance(tag, int)
        return Query(text=" ".join(words[one] for one in chosen), vector=vector, tag=tag)


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """(n, d) rows L2-normalised, float32."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-9)).astype(np.float32)
    return found


def _word(number: int) -> str:
    digits = [number // 16**place % 16 for place in range(5)]
    return "".join(_LETTERS[digits]) + "ax"
