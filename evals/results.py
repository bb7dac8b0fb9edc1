"""Results of an evaluation: outcome and scores of each question, in a JSON Lines file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from hoptrail.agents import Receipt, Usage
from hoptrail.agents.types import AbstainReason, OutcomeKind, StopReason
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.metrics.answers import contains_in_texts, exact_match, f1
from hoptrail.evals.metrics.ranking import first_occurrences, ndcg, recall
from hoptrail.rag.errors import HoptrailError, SettingsError
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.store.layout import write_whole as write_file

RECALL_AT = (2, 5, 10, 20)
SCORES = (*(f"recall@{k}" for k in RECALL_AT), "ndcg@10", "em", "f1", "contains")
"""Names of the metrics of a question, in the order of reports; 0..1, higher is better."""

SHOWN = 5
"""Most quotes that count as shown with an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionResult:
    """Outcome, scores and cost of one question."""

    id: str
    unanswerable: bool
    scores: Mapping[str, float | None]
    """Score by metric name (`SCORES`), 0..1; None: no gold. A failed run scores 0."""
    outcome: OutcomeKind | None
    """None: the run failed."""
    reason: AbstainReason | None = None
    stop: StopReason | None = None
    answer: str = ""
    shown: tuple[str, ...] = ()
    """Quotes cited by the claims that hold, at most `SHOWN`."""
    ranking: tuple[str, ...] = ()
    """Record ids, best first: those of the evidence, then of the other candidates; at most 20."""
    usage: Usage = field(default_factory=Usage)
    rounds: int = 0
    fallbacks: int = 0
    dropped: int = 0
    """Number of claims that did not hold."""
    error: str = ""
    """Why the run failed; empty: it did not."""

    @property
    def final(self) -> bool:
        """Whether a continued evaluation keeps the result; if not, it asks the question again."""
        return not self.error and self.stop != "model_unavailable"


_ROW = TypeAdapter(QuestionResult)


def is_unanswerable(question: Question) -> bool:
    """Whether abstaining is right: the set says so, or has neither answers nor supports.

    A question with supports but no answer (of a pure retrieval set) is answerable; only its answer
    is not scored.
    """
    gold = question.answers or question.supporting_ids or question.grades
    return not question.answerable or not gold


def result_of(question: Question, receipt: Receipt) -> QuestionResult:
    """Result of a question that was answered or abstained on."""
    evidence = (item.document_id for item in receipt.evidence)
    others = (item.document_id for item in receipt.candidates)
    ranking = first_occurrences((*evidence, *others))[: max(RECALL_AT)]
    shown = shown_quotes(receipt)
    return QuestionResult(
        id=question.id,
        unanswerable=is_unanswerable(question),
        scores=_scores(question, ranking, receipt.answer, shown),
        outcome=receipt.outcome.kind,
        reason=receipt.outcome.reason,
        stop=receipt.stop,
        answer=receipt.answer,
        shown=shown,
        ranking=ranking,
        usage=receipt.usage,
        rounds=receipt.rounds,
        fallbacks=receipt.fallbacks,
        dropped=len(receipt.dropped),
    )


def failed_result(question: Question, error: HoptrailError) -> QuestionResult:
    """Result of a question whose run ended in an error; it scores 0 wherever gold is known."""
    return QuestionResult(
        id=question.id,
        unanswerable=is_unanswerable(question),
        scores=_scores(question, (), "", ()),
        outcome=None,
        error=f"{type(error).__name__}: {error}",
    )


def shown_quotes(receipt: Receipt) -> tuple[str, ...]:
    """First five distinct quotes cited by the claims that hold, in the order of the claims."""
    quotes = {item.id: item.quote for item in receipt.evidence}
    cited = dict.fromkeys(e for claim in receipt.claims for e in claim.evidence)
    return tuple(quotes[e] for e in cited if e in quotes)[:SHOWN]


def _scores(
    question: Question, ranking: Sequence[str], answer: str, shown: Sequence[str]
) -> dict[str, float | None]:
    supports = frozenset(question.supporting_ids) if question.support_is_whole else frozenset()
    grades = question.grades or dict.fromkeys(supports, 1)
    gold = () if is_unanswerable(question) else question.answers
    scores: dict[str, float | None] = {
        f"recall@{k}": recall(ranking, supports, k) for k in RECALL_AT
    }
    scores["ndcg@10"] = ndcg(ranking, grades, 10)
    scores["em"] = exact_match(answer, gold)
    scores["f1"] = f1(answer, gold)
    scores["contains"] = contains_in_texts(shown, gold)
    return scores


class ResultsFile:
    """Results file `questions.jsonl` of an output folder, beside `run.json` with all settings.

    Each line is written unbuffered, so a killed run loses no reported result; a line that was cut
    short is removed when the file is opened again.
    """

    def __init__(self, folder: Path, run: Mapping[str, object]) -> None:
        """Opens an output folder for one run.

        Args:
            folder: created if missing.
            run: all settings that decide the results; JSON.

        Raises:
            SettingsError: the folder cannot be written, another process writes to it, it holds
                rows of another run, or a line of it is broken.
        """
        self._path = folder / "questions.jsonl"
        self._lock = FileLock(folder / ".eval.lock", timeout=0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise SettingsError(
                f"Another evaluation is writing to {str(folder)!r}: wait for it, or choose "
                "another --out folder."
            ) from None
        except OSError as error:
            raise SettingsError(
                f"The folder {str(folder)!r} cannot be written ({error.strerror}): choose another "
                "--out folder."
            ) from error
        try:
            _claim(folder, self._path, run)
            self.rows = {row.id: row for row in _read(self._path)}
            """Last result by question id."""
            # Unbuffered: what could not be written must not be tried again when it is closed.
            self._file: FileIO = _opened(self._path)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._lock.release()

    def append(self, row: QuestionResult) -> None:
        """Appends a result as one line, wholly or not at all; the line is in the file on return.

        Raises:
            StoreFull: no space is left.
        """
        rest = memoryview(_ROW.dump_json(row) + b"\n")
        size = self._file.seek(0, os.SEEK_END)
        with disk_errors(self._path):
            try:
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError:
                self._file.truncate(size)
                raise
        self.rows[row.id] = row


def write_whole(path: Path, record: Mapping[str, object]) -> None:
    """Writes a JSON file atomically.

    Raises:
        StoreFull: no space is left.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    with disk_errors(path):
        write_file(path, text.encode("utf-8", "backslashreplace"))


def _opened(path: Path) -> FileIO:
    """The file to append to, unbuffered; a link in its place is refused."""
    try:
        return FileIO(
            os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666), "a"
        )
    except OSError as error:
        raise SettingsError(
            f"{str(path)!r} cannot be written ({error.strerror}): choose another --out folder."
        ) from error


def _claim(folder: Path, rows: Path, run: Mapping[str, object]) -> None:
    """Writes `run.json` in a new folder; in a used one, checks that it is of the same run."""
    path = folder / "run.json"
    # Through JSON, so that tuples are lists on both sides.
    current = json.loads(json.dumps(run))
    if not path.exists():
        if rows.exists() and rows.stat().st_size:
            raise SettingsError(
                f"{str(rows)!r} holds results, but no run.json with its settings: choose another "
                "--out folder."
            )
        write_whole(path, current)
        return
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"{str(path)!r} cannot be read ({error}): choose another --out folder."
        ) from error
    if differences := list(_differences(saved if isinstance(saved, dict) else {}, current)):
        raise SettingsError(
            f"{str(folder)!r} holds results of another run: {'; '.join(differences)}. Use the same "
            "settings to go on with it, or choose another --out folder."
        )


def _differences(saved: Mapping[str, object], current: Mapping[str, object]) -> Iterator[str]:
    for key in dict.fromkeys((*saved, *current)):
        was, now = saved.get(key), current.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            yield from (f"{key} {text}" for text in _differences(was, now))
        elif was != now:
            yield f"{key} was {was!r} and is {now!r}"


def _read(path: Path) -> Iterator[QuestionResult]:
    """Reads the results; a last line without a line end is cut off the file."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    for number, line in enumerate(data[:whole].splitlines(), start=1):
        try:
            yield _ROW.validate_json(line)
        except ValidationError as error:
            raise SettingsError(
                f"{path}, line {number}, is no result of a question: delete the line; its "
                "question is then asked again."
            ) from error
