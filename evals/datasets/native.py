"""Reader of data sets in hoptrail's own folder format.

A folder holds `corpus.jsonl` and `questions.jsonl`, either may be gzipped (`.gz`). A corpus line
has id, title, text and optionally meta; a question line has id, question, answers, supporting_ids
and optionally the other fields of `Question`. Unknown keys are skipped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from hoptrail.evals.datasets.types import Dataset, DatasetError, Question
from hoptrail.rag.types import Document, Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    id: str
    text: str
    title: str = ""
    meta: Mapping[str, Scalar] = field(default_factory=dict)


_RECORD = TypeAdapter(_Record)
_QUESTION = TypeAdapter(Question)

T = TypeVar("T", _Record, Question)


def load_dataset(folder: Path | str) -> Dataset:
    """Reads a data set, records and questions in file order.

    Raises:
        DatasetError: a file is missing or unreadable, a line is malformed, an id occurs twice, or
            a question names a record that the corpus lacks.
    """
    folder = Path(folder)
    corpus = _find(folder, "corpus")
    questions = _find(folder, "questions")
    documents = {
        record.id: Document(
            id=record.id, title=record.title, text=record.text, metadata=record.meta
        )
        for _, record in _read(corpus, _RECORD)
    }
    asked = []
    for line, question in _read(questions, _QUESTION):
        named = (*question.supporting_ids, *question.grades)
        if missing := [identifier for identifier in named if identifier not in documents]:
            raise DatasetError(
                f"{questions}, line {line}: question {question.id!r} names {missing[0]!r}, which "
                f"is no record of {corpus.name}."
            )
        asked.append(question)
    return Dataset(
        name=folder.resolve().name,
        corpus=corpus,
        documents=tuple(documents.values()),
        questions=tuple(asked),
    )


def _find(folder: Path, stem: str) -> Path:
    for name in (f"{stem}.jsonl", f"{stem}.jsonl.gz"):
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(
        f"{str(folder)!r} is no data set: it lacks {stem}.jsonl (or {stem}.jsonl.gz)."
    )


def _read(path: Path, kind: TypeAdapter[T]) -> Iterator[tuple[int, T]]:
    """Yields line numbers, from 1, and records; skips blank lines, refuses a repeated id."""
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            record = kind.validate_json(line, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            what = f"{place!r}: {first['msg']}" if place else first["msg"]
            raise DatasetError(f"{path}, line {number}: {what}.") from error
        if record.id in seen:
            raise DatasetError(
                f"{path}, line {number}: id {record.id!r} stands in line {seen[record.id]} already."
            )
        seen[record.id] = number
        yield number, record


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read after line {number}: {error}.") from error
