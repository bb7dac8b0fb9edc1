"""Thresholds of search and of the model-free strategies on the development sets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hoptrail.agents import RunSettings
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.metrics.aggregate import average
from hoptrail.evals.metrics.answers import contains_in_texts
from hoptrail.evals.metrics.ranking import first_occurrences, recall
from hoptrail.evals.regression.threshold import Threshold
from hoptrail.evals.reports.summary import Report
from hoptrail.evals.runner import EvalConfig, evaluate
from hoptrail.evals.runner import EvalProgress as Asked
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.ingest.pipeline import IngestEvent, Progress
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Hit, Mode

HYBRID_RECALL_AT_5 = {"2wiki_hipporag": 68.0, "musique_dev": 53.4, "hotpot_dev": 76.5}
"""Percent, on the whole set: the min-max row of the sets' README."""
LEAD = 2.0
"""Points of recall@5 by which `pool` must beat `single`."""
TOP = 3
"""Passages of hybrid search that the shown quotes are held against."""

_HITS = 20
"""Passages searched: a long record is several, and the first 5 records are wanted."""
_SAY_EVERY = 10.0
"""Seconds between two lines of progress."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What hybrid search alone reaches."""

    recall_at_5: float
    """Percent, mean over all questions whose supports are known."""
    answers_in_top: int
    """Questions whose gold answer stands in the first `TOP` passages, among those compared."""


def measure(folder: Path, cache: StoreCache, *, limit: int | None, say: Say) -> list[Threshold]:
    """The floors of one set.

    Args:
        folder: the set.
        cache: where its store is kept.
        limit: the strategies are asked the first so many questions; None: all.
        say: hears of the progress, line by line.

    Raises:
        HoptrailError: the set or its store cannot be read, or the embedder fails.
    """
    dataset = load_dataset(folder)
    steps = _Steps(dataset.name, say)
    store = prepare_store(dataset, cache, steps.ingesting)
    steps.done(f"store ready: {store.documents:,} records, {store.passages:,} passages")
    searched = search_all(dataset, store.root, cache, dataset.questions[:limit])
    steps.done(f"hybrid search: {len(dataset.questions):,} questions")
    reports: dict[tuple[str, Mode], Report] = {}
    modes: tuple[Mode, ...] = ("hybrid", "graph")
    for mode in modes:
        for strategy in ("single", "pool"):
            trial = EvalConfig(strategy=strategy, limit=limit, settings=RunSettings(mode=mode))
            report = asyncio.run(evaluate(folder, cache, trial, on_progress=steps.asking))
            steps.done(f"{strategy}, {mode}: {_summary(report)}")
            reports[strategy, mode] = report
    return [
        *floors_of(dataset.name, searched, reports["single", "hybrid"], reports["pool", "hybrid"]),
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
) -> Searched:
    """Searches for every question; answers are looked for in the `compared` ones."""
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
    return Searched(
        recall_at_5=100 * (average(recalls).value or 0.0), answers_in_top=round(contained)
    )


def floors_of(name: str, searched: Searched, single: Report, pool: Report) -> list[Threshold]:
    """The three floors of a set from what was measured; the first only for the sets it names."""
    recalls = {report.strategy: _percent(report, "recall@5") for report in (single, pool)}
    contains = pool.measures["contains"]
    shown = round((contains.value or 0.0) * contains.count)
    floors = [
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
        *floors,
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
    """The measures by which strategies are compared, in percent."""
    names = ("recall@2", "recall@5", "recall@10", "em", "f1", "contains")
    values = ", ".join(f"{name} {_percent(report, name):.1f}" for name in names)
    return f"{report.questions:,} questions, {values}"


def _text(hit: Hit) -> str:
    return f"{hit.passage.title} {hit.passage.text}"


class _Steps:
    """Progress as lines: at most one every ten seconds, and one after each step with its time."""

    def __init__(self, name: str, say: Say) -> None:
        self._name, self._say = name, say
        self._began = self._said = time.monotonic()

    def ingesting(self, event: IngestEvent) -> None:
        if isinstance(event, Progress):
            share = event.done_bytes / max(1, event.total_bytes)
            self._sometimes(f"ingesting: {share:.0%}, {event.passages:,} passages to embed so far")

    def asking(self, event: Asked) -> None:
        self._sometimes(f"asking: {event.done:,} of {event.total:,}")

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._say(f"{self._name}: {what} ({now - self._began:.0f} s)")
        self._began = self._said = now

    def _sometimes(self, what: str) -> None:
        now = time.monotonic()
        if now - self._said >= _SAY_EVERY:
            self._said = now
            self._say(f"{self._name}: {what}")
