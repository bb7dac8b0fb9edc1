"""Question sets in the product's own folder format, read into records.

A folder holds `corpus.jsonl` and `questions.jsonl`, each perhaps gzipped (`.gz`). A corpus line has
id, title, text and perhaps meta; a question line has id, question, answers, supporting_ids and
perhaps the other fields of `Question`. Keys that are not known are skipped: sets carry their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.types import Document


class DatasetError(HoptrailError):
    """A data set is missing, malformed or inconsistent; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of a gold decomposition; `#1` in its question is the first step's answer."""

    question: str
    answer: str
    supporting_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with what is known about its answer; ids are those of corpus records."""

    id: str
    question: str
    answers: tuple[str, ...]
    supporting_ids: tuple[str, ...]
    decomposition: tuple[Hop, ...] = ()
    evidences: tuple[tuple[str, str, str], ...] = ()
    """Triples: subject, relation, object."""

    supporting_facts: tuple[tuple[str, int], ...] = ()
    """Record id and index of the sentence in it."""

    type: str | None = None
    hops: int | None = None
    answerable: bool = True
    grades: Mapping[str, int] = field(default_factory=dict)
    """Record id to relevance; what is missing is 0."""

    support_source: Literal["gold", "derived", "partial"] = "gold"

    @property
    def support_is_whole(self) -> bool:
        """Whether recall may be scored: supports are known, and all of them."""
        return bool(self.supporting_ids) and self.support_source != "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A corpus and the questions about it."""

    name: str
    corpus: Path
    """The corpus file, for `hoptrail ingest`."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
