"""Types of data sets: corpus, questions, gold answers, supports and decompositions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.types import Document


class DatasetError(HoptrailError):
    """Data set that is missing, malformed or inconsistent; the message names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """Step of a gold question decomposition; `#1` in `question` is the answer of the first step."""

    question: str
    answer: str
    supporting_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Question with its gold annotations; ids are those of corpus records."""

    id: str
    question: str
    answers: tuple[str, ...]
    supporting_ids: tuple[str, ...]
    decomposition: tuple[Hop, ...] = ()
    evidences: tuple[tuple[str, str, str], ...] = ()
    """Triples: subject, relation, object."""

    supporting_facts: tuple[tuple[str, int], ...] = ()
    """Record id and index of a sentence in the record, from 0."""

    type: str | None = None
    hops: int | None = None
    answerable: bool = True
    grades: Mapping[str, int] = field(default_factory=dict)
    """Graded relevance by record id; absent records have 0."""

    support_source: Literal["gold", "derived", "partial"] = "gold"

    @property
    def support_is_whole(self) -> bool:
        """Whether recall can be scored: all supports are known."""
        return bool(self.supporting_ids) and self.support_source != "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Corpus and the questions about it."""

    name: str
    corpus: Path
    """The corpus file, for `hoptrail ingest`."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
