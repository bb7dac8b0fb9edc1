"""Benchmark of a question without a model: CPU and wall time of `ask`, and of the command line.

    python -m hoptrail.evals.benchmarks.agents.speed [--questions N] [--calls N] [--json]

Over the documents of examples/world, ingested into a temporary store. A graph search of a fresh
question, its embedding included, is the unit: it is measured between the questions, on the same
machine in the same minute, so that ratios compare where seconds do not. Costs of questions are
medians, those of commands the least of several; run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.rag.embedders.base import Embedder, TextKind
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.ingest.sentence_vectors import store_sentence_vectors
from hoptrail.rag.types import Vectors

STRATEGIES = ("pool", "single", "lattice")
WORLD = Path(__file__).resolve().parents[3] / "examples" / "world"

_WARMING = 3
_IMPORTS = "import hoptrail.app.cli.main, hoptrail.agents.ask, hoptrail.rag.embedders.minilm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of processor, all threads together, and of the wall clock."""

    cpu: float
    wall: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestCost:
    """What sentence vectors cost at ingest."""

    passages_per_second: float
    """Of the ingest alone."""
    with_sentences_per_second: float
    bytes_per_passage: float
    """Of the whole store, without sentence vectors."""
    with_sentences_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AskCost:
    """Medians over the questions of one strategy, library open and warm, questions fresh."""

    strategy: str
    cost: Cost
    searches: float
    ratio: float
    """CPU relative to one graph search."""
    embedding: float
    """Share, 0..1, of the wall time inside the embedder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCost:
    """Least cost, of several calls, of `hoptrail ask` and of its imports alone."""

    ask: Cost
    imports: Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedReport:
    """All figures of a run."""

    ingest: IngestCost
    search: Cost
    asks: tuple[AskCost, ...]
    command: CommandCost


class _TimedEmbedder:
    """Another embedder, its time added up."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.id, self.dimension, self.window = embedder.id, embedder.dimension, embedder.window
        self.seconds = 0.0

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        began = time.perf_counter()
        try:
            return self._embedder.embed(texts, kind)
        finally:
            self.seconds += time.perf_counter() - began


def measure(
    folder: Path, questions: Sequence[str], embedder: Embedder, *, calls: int
) -> SpeedReport:
    """Measures ingest, questions and commands.

    Args:
        folder: empty; the store is made there.
        questions: each is asked once by each strategy, after the first 3, which warm it.
        embedder: one that a store's record is enough to find again.
        calls: of the command line.
    """
    timed = _TimedEmbedder(embedder)
    with KnowledgeBase.create(folder, embedder=timed) as library:
        ingest = _ingest(library, timed)
        for question in questions[:_WARMING]:
            for strategy in STRATEGIES:
                library.ask(question, strategy=strategy)
        searches, asked = [], []
        for number, question in enumerate(questions[_WARMING:]):
            fresh = f"{question} ({number})"
            searches.append(_timed(partial(library.search, fresh, mode="graph")))
            for strategy in STRATEGIES:
                asked.append((strategy, *_asked(library, timed, question, strategy)))
    search = _median(searches)
    asks = tuple(_summed(one, [a[1:] for a in asked if a[0] == one], search) for one in STRATEGIES)
    command = CommandCost(
        ask=_command(calls, "-m", "hoptrail.app.cli.main", "ask", questions[0], "--store", folder),
        imports=_command(calls, "-c", _IMPORTS),
    )
    return SpeedReport(ingest=ingest, search=search, asks=asks, command=command)


def _ingest(library: KnowledgeBase, embedder: Embedder) -> IngestCost:
    plain = _timed(lambda: library.ingest(WORLD / "corpus.jsonl", sentences=False))
    before = library.store.stats()
    more = _timed(lambda: store_sentence_vectors(library.store, embedder))
    passages = before.passages
    return IngestCost(
        passages_per_second=passages / plain.wall,
        with_sentences_per_second=passages / (plain.wall + more.wall),
        bytes_per_passage=before.bytes / passages,
        with_sentences_bytes=library.store.stats().bytes / passages,
    )


def _asked(
    library: KnowledgeBase, embedder: _TimedEmbedder, question: str, strategy: str
) -> tuple[Cost, float, float]:
    """Cost, searches, and share of embedding of one question; its query vectors are forgotten."""
    searches: list[int] = []
    with KnowledgeBase.open(library.store.root, embedder=embedder) as fresh:
        fresh.search("warm", mode="graph")
        embedder.seconds = 0.0
        cost = _timed(
            lambda: searches.append(fresh.ask(question, strategy=strategy).usage.searches)
        )
    return cost, float(searches[0]), embedder.seconds / cost.wall


def _summed(strategy: str, found: Sequence[tuple[Cost, float, float]], search: Cost) -> AskCost:
    cost = _median([one for one, _, _ in found])
    return AskCost(
        strategy=strategy,
        cost=cost,
        searches=median(count for _, count, _ in found),
        ratio=cost.cpu / search.cpu,
        embedding=median(share for _, _, share in found),
    )


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(cpu=median(c.cpu for c in costs), wall=median(c.wall for c in costs))


def _timed(work: Callable[[], object]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def _command(calls: int, *arguments: str | Path) -> Cost:
    """The least of several calls of the interpreter, bytecode compiled by one before them."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    found = []
    with tempfile.TemporaryDirectory() as compiled:
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for _ in range(calls + 1):
            used, wall = getrusage(RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [sys.executable, *map(str, arguments)],
                env=environment,
                check=True,
                capture_output=True,
            )
            now = getrusage(RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            found.append(Cost(cpu=cpu, wall=time.perf_counter() - wall))
    return Cost(cpu=min(c.cpu for c in found[1:]), wall=min(c.wall for c in found[1:]))


def _lines(report: SpeedReport) -> Iterator[str]:
    made = report.ingest
    yield (
        f"ingest: {made.passages_per_second:.1f} passages/s, with sentence vectors "
        f"{made.with_sentences_per_second:.1f}; {made.bytes_per_passage / 1000:.1f} kB a passage, "
        f"with them {made.with_sentences_bytes / 1000:.1f}"
    )
    search = report.search
    yield f"graph search: {1000 * search.cpu:.1f} ms CPU, {1000 * search.wall:.1f} wall"
    yield f"{'ask':<9}{'CPU s':>8}{'wall s':>8}{'searches':>10}{'x search':>10}{'embedding':>11}"
    for one in report.asks:
        yield (
            f"{one.strategy:<9}{one.cost.cpu:>8.3f}{one.cost.wall:>8.3f}{one.searches:>10.0f}"
            f"{one.ratio:>10.1f}{one.embedding:>11.0%}"
        )
    ask, imports = report.command.ask, report.command.imports
    yield (
        f"hoptrail ask: {ask.wall:.2f} s wall, {ask.cpu:.2f} CPU; its imports alone "
        f"{imports.wall:.2f} s wall, {imports.cpu:.2f} CPU"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hoptrail.evals.benchmarks.agents.speed",
        description="Measure what a question without a model costs.",
    )
    parser.add_argument("--questions", type=int, default=15, help="default: 15")
    parser.add_argument("--calls", type=int, default=5, help="of the command line; default: 5")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    with (WORLD / "questions.jsonl").open(encoding="utf-8") as lines:
        questions = [json.loads(line)["question"] for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        asked = questions[: options.questions + _WARMING]
        report = measure(Path(folder), asked, load_embedder(), calls=options.calls)
    shown = json.dumps(asdict(report)) if options.json else "\n".join(_lines(report))
    sys.stdout.write(shown + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
