"""The records that travel through `rag/`: documents, passages, rankings.

All are frozen, slotted and keyword-only: a field cannot be filled by position, and nothing
downstream can change what a search returned.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import SettingsError

Rows = NDArray[np.int64]
"""(n,) int64: numbers of passages in the catalogue of a store."""

Scalar = str | int | float | bool
"""A metadata value."""

Where = Mapping[str, Scalar]
"""Equality filter: every key must be present and equal. Empty: no filter."""

EVERYTHING: Where = MappingProxyType({})
"""The filter that keeps every passage."""

Mode = Literal["graph", "hybrid", "lexical", "dense"]

Vectors = NDArray[np.float32]
"""(n, dimension) float32, each row L2-normalised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A source text and its metadata; citations point into `text` by character."""

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
    """A span of a document, the unit of retrieval: `text == document.text[start:end]`."""

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
    """The text of a passage that is embedded: its title, a line break, its text."""
    return f"{passage.title}\n{passage.text}"


def sentence_text(passage: Passage, start: int, end: int) -> str:
    """The text of a sentence that is embedded: prose calls the title's subject "he"."""
    return f"{passage.title}\n{passage.text[start:end]}"


def check_k(k: int) -> None:
    """Raises SettingsError unless a search may return `k` hits, that is k >= 1."""
    if k < 1:
        raise SettingsError(f"A search needs k >= 1, not {k!r}.")


def tie_break(identifier: str) -> str:
    """The sort key of equal scores: a hash of the id.

    Not the id or the row, since corpora often list the relevant passages first.
    """
    return hashlib.blake2b(identifier.encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The file that a document came from."""

    root: str
    """The resolved path of the folder or single file that was given to the first ingest of it."""
    path: str
    """The file's path below the root, with `/` and in NFC; "": the root itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedDocument:
    """A document ready for the store: its passages and their vectors, row by row."""

    document: Document
    passages: Sequence[Passage]
    vectors: Vectors
    fingerprint: str
    """Hash of the document and of the chunking settings: a document with another is re-indexed."""
    origin: Origin | None = None
    """Where it came from; its root is registered (`Store.origins`). None: from no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSentence:
    """A sentence of a passage and how near it is to a query."""

    start: int
    """Its first character, counted within the passage."""
    end: int
    """The character after its last."""
    cosine: float
    """-1..1, rounded to 6 digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Via:
    """The last hop of a graph search to a passage."""

    name: str
    """The name that was followed, spelled as in the source passage."""
    passage_id: str
    """Id of the source passage."""
    title: str
    """Title of the source passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A retrieved passage. `score` grows with relevance; its unit is the mode's own."""

    passage: Passage
    score: float
    source: Mode
    via: Via | None = None
    """The hop that led to it; None: the query itself found it."""
    copies: tuple[Passage, ...] = ()
    """Other passages with the same text that the search came across: see `retrieval.duplicates`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The hits of one query, best first, in one generation of the store."""

    query: str
    hits: tuple[Hit, ...]
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of one index: passage rows of the catalogue and scores, best first."""

    rows: NDArray[np.int64]
    """(n,) int64, each row at most once."""

    scores: NDArray[np.float32]
    """(n,) float32, descending; the unit is the index's own."""
