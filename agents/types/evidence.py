"""The records of what was found and read: candidates, passages read, quotes as evidence."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hoptrail.rag.types import Via


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A passage that a query found; `score`, 0..1, ranks it among all passages of the run."""

    passage_id: str
    document_id: str
    score: float
    own: float
    """0..1: its score for the question itself; 0 where that query did not find it."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to it; None: by the query itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """Candidates with scores that replace those of before, be they higher or lower."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPassage:
    """A passage that was read, the round, and why: what had found it, and its ranks, from 1."""

    passage_id: str
    query: str
    round: int
    copy: bool = False
    """True: it is gone, or has the text of another one, which was read in its place."""
    score: float = 0.0
    """0..1, as its `Candidate` had it then, and so is the name by which the search came to it."""
    via: Via | None = None
    rank: int = 0
    """By score, among the passages not read yet; 0: recorded by an earlier version."""
    model_rank: int = 0
    """In the order that a model made; 0: none did, its score decided."""
    votes: float | None = None
    """Samples of a model that found it useful, each by its probability where that is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An exact quote: `document.text[start:end] == quote`, checked by code."""

    id: str
    document_id: str
    passage_id: str
    title: str
    start: int
    end: int
    quote: str
    confidence: float
    """0..1: how sure the refiner is that the quote bears on the question."""
    score: float
    """0..1: confidence times the score of the passage."""
    round: int
    query: str
    via: Via | None = None
    """The name by which the search came to its passage; None: by the query itself."""
    generation: int = 0
    """The store's generation when its passage was read; 0: the receipt is older than this field."""


def evidence_id(document_id: str, start: int, end: int) -> str:
    """The id of a quote, made from where it stands: parallel branches give it the same one."""
    place = f"{document_id}\0{start}\0{end}".encode("utf-8", "surrogatepass")
    return "e" + hashlib.sha256(place).hexdigest()[:10]
