"""Synthetic corpora and queries for timing a store: Zipf words, clustered unit vectors.

Never random Gaussian vectors: without clusters an approximate index looks far worse than it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.types import Document, IndexedDocument, Passage, Vectors, passage_id

DIMENSION = 384
TYPES = 100_000
"""Words of the vocabulary."""
WORDS = 100
"""Words of a passage."""
PER_DOCUMENT = 20
"""Passages of a document."""
TAGS = 100
"""Values of the metadata key `tag`."""
_CLUSTERS = 1000
_LETTERS = np.array(list("bcdfghklmnprstvz"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticQuery:
    """Query of ten terms of one passage and that passage's vector with noise."""

    text: str
    vector: NDArray[np.float32]
    tag: int


class SyntheticCorpus:
    """Corpus of `size` passages in documents of 20; equal seeds give equal corpora."""

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

    def query(self, source: IndexedDocument) -> SyntheticQuery:
        """A query for one passage of a document."""
        at = int(self._random.integers(len(source.passages)))
        words = source.passages[at].text.split()
        chosen = self._random.choice(len(words), size=10, replace=False)
        noise = self._random.normal(size=self.dimension) * self._spread
        vector = unit((source.vectors[at] + noise)[np.newaxis])[0]
        tag = source.document.metadata["tag"]
        assert isinstance(tag, int)
        return SyntheticQuery(text=" ".join(words[one] for one in chosen), vector=vector, tag=tag)


class GivenVectors:
    """Embedder that returns the given vectors for queries and hashed words for other texts."""

    id = "bench"
    dimension = DIMENSION
    window = 1_000

    def __init__(self, queries: Sequence[SyntheticQuery]) -> None:
        self._vectors = {query.text: query.vector for query in queries}
        self._other = HashEmbedder(DIMENSION)

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), DIMENSION) float32."""
        known = self._vectors
        return np.stack([known[one] if one in known else self._hash(one) for one in texts])

    def _hash(self, text: str) -> NDArray[np.float32]:
        vector: NDArray[np.float32] = self._other.embed([text])[0]
        return vector


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """L2-normalises the rows of (n, d) vectors; float32."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(norms, 1e-9)).astype(np.float32)
    return found


def _word(number: int) -> str:
    digits = [number // 16**place % 16 for place in range(5)]
    return "".join(_LETTERS[digits]) + "ax"
