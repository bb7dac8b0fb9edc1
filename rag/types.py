"""What the store hands to its indexes: the rows that are alive, a filter, a batch to write."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


Scalar = str | int | float | bool
"""What a metadata value may be."""

Where = Mapping[str, Scalar]
"""Equality filter: every key must be present and equal. Empty: no filter."""

Mode = Literal["graph", "hybrid", "lexical", "dense"]

Vectors = NDArray[np.float32]
"""(n, dimension) float32, each row L2-normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A source text as it was read; citations point into `text` by character."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of title, text and metadata: equal hashes mean nothing changed."""
        body = json.dumps([self.title, self.text, sorted(self.metadata.items())], ensure_ascii=True)
        return hashlib.sha256(body.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A stretch of a document: `text == document.text[start:end]` (characters)."""

    id: str
    document_id: str
    start: int
    end: int
    title: str
    text: str


def passage_id(document_id: str, start: int, end: int) -> str:
    """The id of a passage: 20 hex digits that depend on document id and offsets only."""
    return hashlib.sha256(f"{document_id}\0{start}\0{end}".encode()).hexdigest()[:20]


def embedding_text(passage: Passage) -> str:
    """What is embedded for a passage: its title, a line break, its text."""
    return f"{passage.title}\n{passage.text}"


def tie_break(identifier: str) -> str:
    """The key that orders equal scores: a hash, since corpora list the gold first."""
    return hashlib.blake2b(identifier.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedDocument:
    """A document ready for the store: its passages and their vectors, row by row."""

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors
    fingerprint: str
    """What decides whether it must be indexed again: document hash and chunking settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Via:
    """The last hop of a graph search to a passage."""

    name: str
    """The name that was followed, as it stands where it was read."""
    passage_id: str
    """Where it was read."""
    title: str
    """That passage's title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage a search found. `score` grows with relevance; its unit is the mode's own."""

    passage: Passage
    score: float
    source: Mode
    via: Via | None = None
    """None: it was found by the query itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The hits of one query, best first, as of one generation of the store."""

    query: str
    hits: tuple[Hit, ...]
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What one index found: passage rows of the catalogue and their scores, best first."""

    rows: NDArray[np.int64]
    """(n,) int64, each row at most once."""

    scores: NDArray[np.float32]
    """(n,) float32, descending; the unit is the index's own."""
