"""The floors that retrieval and the local players must reach on the shared development sets.

    python -m hoptrail.evals.floors DATA [--sets NAME...] [--quick] [--store-cache DIR]

For each set, ingested for real (the store is kept, so only the first run embeds everything):

1. hybrid search: recall@5 at least that of the mean of min-max scores in the sets' README;
2. `pool` without a model and without the passage graph: the gold answer stands in the quotes shown
   (at most 5) for at least as many questions as in hybrid search's first 3 passages (questions
   answered yes or no left out);
3. there, `pool` beats `single` by at least 2 points of recall@5;
4. search along the passage graph: recall@5, with titles and without, and on one-hop questions; and
   both strategies with it beside those without (`hoptrail.evals.floors_graph`);
5. search of the tree fused with hybrid search, a tree that grew, and the calibration of scores
   (`hoptrail.evals.floors_tree`).

Exits with 1 if a floor is missed, with 2 if it cannot be measured. The table goes to stdout,
everything else to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hoptrail.agents import Settings
from hoptrail.evals.datasets import Dataset, Question, load_dataset
from hoptrail.evals.floor import ROW, Floor
from hoptrail.evals.floors_graph import graph_floors, one_hop_floors
from hoptrail.evals.floors_tree import tree_floors
from hoptrail.evals.harness import Progress as Asked
from hoptrail.evals.harness import Trial, evaluate
from hoptrail.evals.metrics import average, first_occurrences, recall, stands_in
from hoptrail.evals.report import Report
from hoptrail.evals.stores import StoreCache, add_cache_options, prepare
from hoptrail.rag.embedders.caching import Remembering
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import HoptrailError
from hoptrail.rag.ingest.pipeline import IngestEvent, Progress
from hoptrail.rag.retrieval.retriever import Searcher
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Hit, Mode

HYBRID_RECALL_AT_5 = {"2wiki_hipporag": 68.0, "musique_dev": 53.4, "hotpot_dev": 76.5}
"""Percent, on the whole set: the min-max row of the sets' README."""
LEAD = 2.0
"""Points of recall@5 by which `pool` must beat `single`."""
TOP = 3
"""Passages of hybrid search that the shown quotes are held against."""
QUICK = 100
"""Questions a set that the strategies are asked with `--quick`."""

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


def measure(folder: Path, cache: StoreCache, *, limit: int | None, say: Say) -> list[Floor]:
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
    store = prepare(dataset, cache, steps.ingesting)
    steps.done(f"store ready: {store.documents:,} records, {store.passages:,} passages")
    searched = search_all(dataset, store.root, cache, dataset.questions[:limit])
    steps.done(f"hybrid search: {len(dataset.questions):,} questions")
    reports: dict[tuple[str, Mode], Report] = {}
    modes: tuple[Mode, ...] = ("hybrid", "graph")
    for mode in modes:
        for strategy in ("single", "pool"):
            trial = Trial(strategy=strategy, limit=limit, settings=Settings(mode=mode))
            report = asyncio.run(evaluate(folder, cache, trial, on_progress=steps.asking))
            steps.done(f"{strategy}, {mode}: {_summary(report)}")
            reports[strategy, mode] = report
    return [
        *floors_of(dataset.name, searched, reports["single", "hybrid"], reports["pool", "hybrid"]),
        *(
            Floor(
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
        searcher = Searcher(store, cache.embedder)
        for question in dataset.questions:
            hits = searcher.search(question.question, k=_HITS, mode="hybrid").hits
            if question.support_is_whole:
                ranking = first_occurrences(hit.passage.document_id for hit in hits)
                recalls.append(recall(ranking, frozenset(question.supporting_ids), 5))
            if question.id in among and question.answers:
                contained += stands_in(map(_text, hits[:TOP]), question.answers) or 0.0
    return Searched(
        recall_at_5=100 * (average(recalls).value or 0.0), answers_in_top=round(contained)
    )


def floors_of(name: str, searched: Searched, single: Report, pool: Report) -> list[Floor]:
    """The three floors of a set from what was measured; the first only for the sets it names."""
    recalls = {report.strategy: _percent(report, "recall@5") for report in (single, pool)}
    contains = pool.measures["contains"]
    shown = round((contains.value or 0.0) * contains.count)
    floors = [
        Floor(
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
        Floor(
            set=name,
            what=f"pool, answers in quotes vs in hybrid top {TOP} (of {contains.count})",
            measured=shown,
            wanted=searched.answers_in_top,
        ),
        Floor(
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the floors and prints them; returns the exit code."""
    options = _parser().parse_args(arguments)
    if absent := [name for name in options.sets if not (options.data / name).is_dir()]:
        _note(f"floors: {str(options.data)!r} has no folder {', '.join(map(repr, absent))}")
        return 2
    try:
        embedder = Remembering(load_embedder(options.embedder))
        cache = StoreCache(folder=options.store_cache, embedder=embedder)
        floors = _measure_all(options, cache)
    except HoptrailError as error:
        _note(f"floors: {error}")
        return 2
    except KeyboardInterrupt:
        _note("floors: interrupted; stores keep what was ingested")
        return 130
    missed = [floor for floor in floors if not floor.reached]
    header = {"set": "set", "what": "floor", "measured": "measured", "wanted": "wanted"}
    lines = [ROW.format(**header, verdict=""), *(floor.line() for floor in floors)]
    sys.stdout.write("\n".join(line.rstrip() for line in lines) + "\n")
    _note(f"{len(floors) - len(missed)} of {len(floors)} floors reached")
    return 1 if missed else 0


def _measure_all(options: argparse.Namespace, cache: StoreCache) -> list[Floor]:
    limit = QUICK if options.quick else None
    if limit is not None:
        _note(f"quick: strategies are asked {limit} questions a set; the floors mean all of them")
    floors = []
    for name in options.sets:
        floors += measure(options.data / name, cache, limit=limit, say=_note)
        floors += graph_floors(options.data / name, cache, say=_note)
    floors += one_hop_floors(options.data, cache, say=_note)
    floors += tree_floors(options.data, options.sets, cache, say=_note)
    return floors


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.floors", description="Measure the floors of retrieval."
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the shared data sets")
    parser.add_argument(
        "--sets", nargs="+", metavar="NAME", default=list(HYBRID_RECALL_AT_5), help="which sets"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"ask the strategies {QUICK} questions a set"
    )
    add_cache_options(parser)
    return parser


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
