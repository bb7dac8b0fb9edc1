"""Regression thresholds of hybrid search and of the model-free strategies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hoptrail.agents import RunSettings
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.metrics.aggregate import average
from hoptrail.evals.metrics.answers import contains_in_texts
from hoptrail.evals.metrics.ranking import first_occurrences, recall
from hoptrail.evals.regression.threshold import ProgressLog, Threshold
from hoptrail.evals.reports.summary import Report
from hoptrail.evals.runner import EvalConfig, EvalProgress, aevaluate
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.ingest.pipeline import IngestEvent, Progress
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Hit, Mode

HYBRID_RECALL_AT_5 = {"2wiki_hipporag": 68.0, "musique_dev": 53.4, "hotpot_dev": 76.5}
"""Least recall@5 of hybrid search in percent, on all questions of the whole set.

That of a baseline: the 50 best passages by BM25 (k1 = 1.5, b = 0.75, Snowball stems, stop words)
and the 50 best by MiniLM vectors, the scores of each list min-max normalised to 0..1, ranked by
the mean of the two."""
LEAD = 2.0
"""Points of recall@5 by which `pool` must beat `single`, both without model and graph."""
TOP = 3
"""First passages of hybrid search whose answers the quotes of `pool` must match in number."""

_HITS = 20
"""Passages searched: a long record has several, and recall needs the first 5 records."""
_LOG_EVERY = 10.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridBaseline:
    """Recall and answers of hybrid search alone on one data set."""

    recall_at_5: float
    """Percent, mean over all questions whose supports are known."""
    answers_in_top: int
    """Compared questions whose gold answer occurs in the first `TOP` passages."""


def measure(
    folder: Path, cache: StoreCache, *, limit: int | None, log: ProgressLog
) -> list[Threshold]:
    """Thresholds of hybrid search and of the strategies on one data set.

    Args:
        folder: the data set.
        cache: keeps its store.
        limit: number of questions, from the first, for the strategies; None: all.
        log: receives lines of progress.

    Raises:
        HoptrailError: the set or its store cannot be read, or the embedder fails.
    """
    dataset = load_dataset(folder)
    steps = _StepLog(dataset.name, log)
    store = prepare_store(dataset, cache, steps.ingesting)
    steps.done(f"store ready: {store.documents:,} records, {store.passages:,} passages")
    searched = search_all(dataset, store.root, cache, dataset.questions[:limit])
    steps.done(f"hybrid search: {len(dataset.questions):,} questions")
    reports: dict[tuple[str, Mode], Report] = {}
    modes: tuple[Mode, ...] = ("hybrid", "graph")
    for mode in modes:
        for strategy in ("single", "pool"):
            trial = EvalConfig(strategy=strategy, limit=limit, settings=RunSettings(mode=mode))
            report = asyncio.run(aevaluate(folder, trial, cache=cache, on_progress=steps.asking))
            steps.done(f"{strategy}, {mode}: {_summary(report)}")
            reports[strategy, mode] = report
    return [
        *thresholds_of(
            dataset.name, searched, reports["single", "hybrid"], reports["pool", "hybrid"]
        ),
        *(
            Threshold(
                set=dataset.name,
                what=f"{strategy} with the graph, recall@5 in %, vs without",
                measured=_percent(reports[strategy, "graph"], "recall@5"),
                wanted=_percent(reports[strategy, "hybrid"], "recall@5"),
            )
            for strategy in ("single", "pool")
        ),
    ]


def search_all(
    dataset: Dataset, root: Path, cache: StoreCache, compared: Sequence[Question]
) -> HybridBaseline:
    """Runs hybrid search for every question; answers are counted over the `compared` ones."""
    among = {question.id for question in compared}
    recalls: list[float | None] = []
    contained = 0.0
    with Store.open(root, embedder=cache.embedder) as store:
        searcher = Retriever(store, cache.embedder)
        for question in dataset.questions:
            hits = searcher.search(question.question, k=_HITS, mode="hybrid").hits
            if question.support_is_whole:
                ranking = first_occurrences(hit.passage.document_id for hit in hits)
                recalls.append(recall(ranking, frozenset(question.supporting_ids), 5))
            if question.id in among and question.answers:
                contained += contains_in_texts(map(_text, hits[:TOP]), question.answers) or 0.0
    return HybridBaseline(
        recall_at_5=100 * (average(recalls).value or 0.0), answers_in_top=round(contained)
    )


def thresholds_of(
    name: str, searched: HybridBaseline, single: Report, pool: Report
) -> list[Threshold]:
    """Thresholds of one set; the first only if `HYBRID_RECALL_AT_5` has the set."""
    recalls = {report.strategy: _percent(report, "recall@5") for report in (single, pool)}
    contains = pool.measures["contains"]
    shown = round((contains.value or 0.0) * contains.count)
    thresholds = [
        Threshold(
            set=name,
            what="hybrid search, recall@5 in %",
            measured=searched.recall_at_5,
            wanted=wanted,
        )
        for wanted in (HYBRID_RECALL_AT_5.get(name),)
        if wanted is not None
    ]
    return [
        *thresholds,
        Threshold(
            set=name,
            what=f"pool, answers in quotes vs in hybrid top {TOP} (of {contains.count})",
            measured=shown,
            wanted=searched.answers_in_top,
        ),
        Threshold(
            set=name,
            what=f"pool, recall@5 in %, vs single's {recalls['single']:.1f}",
            measured=recalls["pool"],
            wanted=recalls["single"] + LEAD,
        ),
    ]


def _percent(report: Report, measure: str) -> float:
    return 100 * (report.measures[measure].value or 0.0)


def _summary(report: Report) -> str:
    """Measures of a report in percent, for a line of progress."""
    names = ("recall@2", "recall@5", "recall@10", "em", "f1", "contains")
    values = ", ".join(f"{name} {_percent(report, name):.1f}" for name in names)
    return f"{report.questions:,} questions, {values}"


def _text(hit: Hit) -> str:
    return f"{hit.passage.title} {hit.passage.text}"


class _StepLog:
    """Progress lines: at most one every ten seconds, and one after each step with its time."""

    def __init__(self, name: str, log: ProgressLog) -> None:
        self._name, self._log = name, log
        self._began = self._logged = time.monotonic()

    def ingesting(self, event: IngestEvent) -> None:
        if isinstance(event, Progress):
            share = event.done_bytes / max(1, event.total_bytes)
            self._sometimes(f"ingesting: {share:.0%}, {event.passages:,} passages to embed so far")

    def asking(self, event: EvalProgress) -> None:
        self._sometimes(f"asking: {event.done:,} of {event.total:,}")

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._log(f"{self._name}: {what} ({now - self._began:.0f} s)")
        self._began = self._logged = now

    def _sometimes(self, what: str) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            self._log(f"{self._name}: {what}")
