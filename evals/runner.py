"""A question set through a strategy: each question asked, scored and kept, and a report at the end.

A run with an output folder can be stopped at any moment and taken up again: a question whose line
is in `questions.jsonl` is not asked twice, unless its run failed or the model server was gone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hoptrail.agents import Budget, KnowledgeBase, RunSettings, ServedModel, aask, open_library
from hoptrail.agents.llm.http import open_endpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.strategies.registry import strategy as strategy_named
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.reports.summary import Report, summarise
from hoptrail.evals.results import (
    QuestionResult,
    ResultsFile,
    failed_result,
    result_of,
    write_whole,
)
from hoptrail.evals.store_cache import (
    IngestListener,
    PreparedStore,
    StoreCache,
    corpus_hash,
    prepare_store,
)
from hoptrail.rag.errors import HoptrailError, ModelError, SettingsError
from hoptrail.rag.ingest.pipeline import IngestEvent

GONE = 8
"""Runs in a row that lost the model server before the whole evaluation is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What is tried, on how many questions at once.

    Raises:
        SettingsError: an unknown strategy, or a number below 1.
    """

    strategy: str = "pool"
    model: ServedModel | Endpoint | None = None
    """None: the local players."""
    budget: Budget = field(default_factory=Budget)
    """Of each question."""
    settings: RunSettings = field(default_factory=RunSettings)
    limit: int | None = None
    """The first so many questions, in the order of the file."""
    concurrency: int = 4
    """Questions that are under way at one time."""

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        for name in ("limit", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value!r}: give a whole number of at least 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalProgress:
    """How far the asking is."""

    done: int
    total: int
    row: QuestionResult | None
    """The question that was just finished; None: at the beginning, when `done` are there."""


ProgressListener = Callable[[EvalProgress], None]


def _ignore(_event: object) -> None:
    """Listens to nothing."""


async def evaluate(
    folder: Path,
    cache: StoreCache,
    trial: EvalConfig | None = None,
    *,
    out: Path | None = None,
    on_ingest: IngestListener = _ignore,
    on_progress: ProgressListener = _ignore,
) -> Report:
    """Ingests a data set (cached), asks its questions and reports.

    Args:
        folder: a data set (`hoptrail.evals.datasets`).
        cache: where its store is kept and how it is made.
        trial: what is tried; None: `pool` with the local players.
        out: gets `questions.jsonl`, `run.json` and `report.json`; None: nothing is written.
        on_ingest: hears of the ingest, in another thread.
        on_progress: hears of each question, in this loop.

    Raises:
        DatasetError: the set cannot be read.
        SettingsError: `out` holds results of another run, or is being written to.
        ModelError: the model server cannot be used. What was done stays.
        EmbedderError, StoreError: the corpus cannot be ingested or its store opened.
    """
    trial = trial or EvalConfig()
    dataset = await asyncio.to_thread(load_dataset, folder)
    async with AsyncExitStack() as stack:
        store = await _prepared(dataset, cache, on_ingest)
        library = await asyncio.to_thread(
            open_library, store.root, embedder=cache.embedder, keep=False
        )
        stack.callback(library.close)
        endpoint = await open_endpoint(stack, trial.model, library.secret)
        run = await _run_record(dataset, store, trial, endpoint)
        rows = stack.enter_context(ResultsFile(out, run)) if out is not None else None
        examination = _Examination(library, endpoint, trial, rows, on_progress)
        answered = await examination.over(dataset.questions[: trial.limit])
    report = summarise(answered, dataset=dataset.name, missing_records=store.missing, run=run)
    if out is not None:
        write_whole(out / "report.json", report.record())
    return report


class _Examination:
    """The asking of many questions, a few at a time."""

    def __init__(
        self,
        library: KnowledgeBase,
        endpoint: Endpoint | None,
        trial: EvalConfig,
        file: ResultsFile | None,
        on_progress: ProgressListener,
    ) -> None:
        self._library, self._endpoint, self._trial = library, endpoint, trial
        self._file, self._on_progress = file, on_progress
        self._rows: dict[str, QuestionResult] = {}
        self._total = self._gone = 0

    async def over(self, questions: Sequence[Question]) -> list[QuestionResult]:
        """The rows of all questions, in their order."""
        self._total = len(questions)
        kept = self._file.rows if self._file is not None else {}
        self._rows = {q.id: kept[q.id] for q in questions if q.id in kept and kept[q.id].final}
        self._on_progress(EvalProgress(done=len(self._rows), total=self._total, row=None))
        waiting = iter([q for q in questions if q.id not in self._rows])
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._trial.concurrency):
                    group.create_task(self._work(waiting))
        except ExceptionGroup as errors:
            known, bugs = errors.split(HoptrailError)
            if known is None or bugs is not None:
                raise
            raise known.exceptions[0] from None
        return [self._rows[q.id] for q in questions]

    async def _work(self, waiting: Iterator[Question]) -> None:
        """Takes one question after the other from those that all workers share."""
        for question in waiting:
            row = await self._asked(question)
            if self._file is not None:
                self._file.append(row)
            self._rows[question.id] = row
            self._on_progress(EvalProgress(done=len(self._rows), total=self._total, row=row))
            self._watch_server(row)

    async def _asked(self, question: Question) -> QuestionResult:
        """Asks; an error that is not the model server's is this question's own result."""
        trial = self._trial
        try:
            receipt = await aask(
                question.question,
                self._library,
                strategy=trial.strategy,
                model=self._endpoint,
                budget=trial.budget,
                settings=trial.settings,
            )
        except ModelError:
            raise
        except HoptrailError as error:
            return failed_result(question, error)
        return result_of(question, receipt)

    def _watch_server(self, row: QuestionResult) -> None:
        """Ends everything when one run after the other has lost the model server."""
        self._gone = self._gone + 1 if row.stop == "model_unavailable" else 0
        if self._gone >= GONE:
            raise ModelError(
                f"{GONE} questions in a row lost the model server: look at its log. What was done "
                "before stays; run the same again with --out to go on from there."
            )


async def _prepared(
    dataset: Dataset, cache: StoreCache, on_ingest: IngestListener
) -> PreparedStore:
    """The set's store, made in a thread that ends soon after this is cancelled."""
    given_up = threading.Event()

    def listen(event: IngestEvent) -> None:
        if given_up.is_set():
            raise _GivenUp
        on_ingest(event)

    try:
        return await asyncio.to_thread(prepare_store, dataset, cache, listen)
    except asyncio.CancelledError:
        given_up.set()
        raise


class _GivenUp(Exception):
    """Ends an ingest that nobody waits for any more; what it committed stays."""


async def _run_record(
    dataset: Dataset, store: PreparedStore, trial: EvalConfig, endpoint: Endpoint | None
) -> dict[str, Any]:
    """Everything that decides the rows, but not how many are asked or how many at once."""
    model: Mapping[str, str] | None = None
    if endpoint is not None:
        url = trial.model.url if isinstance(trial.model, ServedModel) else ""
        model = {"name": (await endpoint.info()).model, "url": url}
    return {
        "hoptrail": version("hoptrail"),
        "dataset": {
            "name": dataset.name,
            "corpus": corpus_hash(dataset),
            "questions": _questions_hash(dataset.questions),
        },
        "store": store.fingerprint,
        "strategy": trial.strategy,
        "model": model,
        "budget": asdict(trial.budget),
        "settings": asdict(trial.settings),
    }


def _questions_hash(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    for question in questions:
        digest.update(json.dumps(asdict(question), sort_keys=True).encode())
    return digest.hexdigest()
