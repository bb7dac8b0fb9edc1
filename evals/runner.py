"""Evaluation runner: asks the questions of a data set with one strategy, scores them and reports.

A run with an output folder can be stopped at any moment and continued: a question with a line in
`questions.jsonl` is not asked again, unless its run failed or lost the model server.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from hoptrail.agents.ask import aask
from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.llm.served_model import AnyModel
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.runs.models import RoleModels, opened_once
from hoptrail.agents.runs.request import RunSettings
from hoptrail.agents.runs.synchronous import synchronous
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
"""Consecutive runs without the model server after which the evaluation ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """Configuration of an evaluation: strategy, model, budget, settings, number of questions.

    Raises:
        SettingsError: an unknown strategy, or a number below 1.
    """

    strategy: str = "pool"
    model: AnyModel | RoleModels | None = None
    """None: the local players."""
    budget: Budget = field(default_factory=Budget)
    """Budget of each question."""
    settings: RunSettings = field(default_factory=RunSettings)
    limit: int | None = None
    """Number of questions, from the first of the file; None: all."""
    concurrency: int = 4
    """Questions that run at the same time."""

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        for name in ("limit", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(
                    f"The setting {name!r} is {value!r}: give a whole number of at least 1."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalProgress:
    """Number of questions that are done, and the result of the last one."""

    done: int
    total: int
    row: QuestionResult | None
    """Result of the question just finished; None in the first event, where `done` counts the
    results that an earlier run left."""


ProgressListener = Callable[[EvalProgress], None]


def _ignore(_event: object) -> None:
    """Ignores an event."""


async def aevaluate(
    dataset: Dataset | Path | str,
    config: EvalConfig | None = None,
    *,
    cache: StoreCache | None = None,
    out: Path | str | None = None,
    on_ingest: IngestListener = _ignore,
    on_progress: ProgressListener = _ignore,
) -> Report:
    """Evaluates a strategy on a data set: ingests it (cached), asks its questions and scores them.

    Args:
        dataset: a data set, or its folder (see `load_dataset`).
        config: the strategy, model, budget and settings; None: `pool` with the local players.
        cache: where its store is kept and how it is made; None: `StoreCache.default()`.
        out: gets `questions.jsonl`, `run.json` and `report.json`; None: nothing is written.
        on_ingest: receives events of the ingest, in another thread.
        on_progress: receives the progress after each question, in this event loop.

    Raises:
        DatasetError: the set cannot be read.
        SettingsError: `out` holds results of another run, or is being written to.
        ModelError: the model server cannot be used. What was done stays.
        EmbedderError, StoreError: the corpus cannot be ingested or its store opened.
    """
    trial = config or EvalConfig()
    out = None if out is None else Path(out)
    if not isinstance(dataset, Dataset):
        dataset = await asyncio.to_thread(load_dataset, Path(dataset))
    if cache is None:
        cache = await asyncio.to_thread(StoreCache.default)
    async with AsyncExitStack() as stack:
        store = await _prepared(dataset, cache, on_ingest)
        library = await asyncio.to_thread(
            OpenStore.open, store.root, embedder=cache.embedder, keep_runs=False
        )
        stack.callback(library.close)
        models = await opened_once(stack, RoleModels.of(trial.model), library.secret)
        run = await _run_record(dataset, store, trial, models)
        rows = stack.enter_context(ResultsFile(out, run)) if out is not None else None
        question_runs = _QuestionRuns(library, models, trial, rows, on_progress)
        results = await question_runs.run_all(dataset.questions[: trial.limit])
    report = summarise(results, dataset=dataset.name, missing_records=store.missing, run=run)
    if out is not None:
        write_whole(out / "report.json", report.record())
    return report


evaluate = synchronous(aevaluate)


class _QuestionRuns:
    """Runs of many questions, `concurrency` at a time."""

    def __init__(
        self,
        library: OpenStore,
        models: RoleModels,
        trial: EvalConfig,
        file: ResultsFile | None,
        on_progress: ProgressListener,
    ) -> None:
        self._library, self._models, self._trial = library, models, trial
        self._file, self._on_progress = file, on_progress
        self._rows: dict[str, QuestionResult] = {}
        self._total = self._gone = 0

    async def run_all(self, questions: Sequence[Question]) -> list[QuestionResult]:
        """Runs all questions; returns their results in the order of the questions."""
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
        """Worker: runs one question after the other from an iterator that all workers share."""
        for question in waiting:
            row = await self._run_question(question)
            if self._file is not None:
                self._file.append(row)
            self._rows[question.id] = row
            self._on_progress(EvalProgress(done=len(self._rows), total=self._total, row=row))
            self._watch_server(row)

    async def _run_question(self, question: Question) -> QuestionResult:
        """Runs one question; any error but the model server's becomes the question's result."""
        trial = self._trial
        try:
            receipt = await aask(
                question.question,
                self._library,
                strategy=trial.strategy,
                model=self._models,
                budget=trial.budget,
                settings=trial.settings,
            )
        except ModelError:
            raise
        except HoptrailError as error:
            return failed_result(question, error)
        return result_of(question, receipt)

    def _watch_server(self, row: QuestionResult) -> None:
        """Ends the evaluation after `GONE` consecutive runs without the model server."""
        self._gone = self._gone + 1 if row.stop == "model_unavailable" else 0
        if self._gone >= GONE:
            raise ModelError(
                f"{GONE} questions in a row lost the model server: look at its log. Finished "
                "questions are kept in the --out folder; run the same command again to continue."
            )


async def _prepared(
    dataset: Dataset, cache: StoreCache, on_ingest: IngestListener
) -> PreparedStore:
    """Prepares the store of a data set in a thread, which ends soon after a cancellation."""
    cancelled = threading.Event()

    def listen(event: IngestEvent) -> None:
        if cancelled.is_set():
            raise _Cancelled
        on_ingest(event)

    try:
        return await asyncio.to_thread(prepare_store, dataset, cache, listen)
    except asyncio.CancelledError:
        cancelled.set()
        raise


class _Cancelled(Exception):
    """Raised in the ingest thread after a cancellation; committed documents stay."""


async def _run_record(
    dataset: Dataset, store: PreparedStore, trial: EvalConfig, models: RoleModels
) -> dict[str, Any]:
    """All settings that decide the results; without `limit` and `concurrency`."""
    model: dict[str, Any] | None = None
    if servers := models.servers():
        described = RoleModels.of(trial.model).described()
        first = cast(Endpoint, next(iter(servers.values())))  # they are open
        model = {"name": (await first.info()).model, "url": described["model"]}
        if described["models"]:
            model["roles"] = {role: asdict(one) for role, one in described["models"].items()}
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
