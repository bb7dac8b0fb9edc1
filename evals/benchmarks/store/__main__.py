"""Benchmark of the store: ingest throughput, search latency, memory, disk and crash safety.

    python -m hoptrail.evals.benchmarks.store [--passages 10000,100000] [--million] [--batch 1024]
                                          [--kills 30] [--graph DATASET] [--json]

Embedding is excluded. A hybrid query is 50 candidates by words, 50 by vector, fusion, and the texts
of ten. SQLite, Tantivy and NumPy alone (`bare_parts`) answer the same queries over the same files
in the same run, alternately, so that a busy machine slows both: there the ratio is the number to
trust. They have no passage graph, so these stores are made without one (graph "none"); what the
graph adds to ingest and files is measured by --graph, on the real corpus of a data set. --kills
kills a writer with SIGKILL and counts lost and torn documents.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from hoptrail.evals.benchmarks.store.bare_parts import BareParts
from hoptrail.evals.benchmarks.store.crash_test import trials
from hoptrail.evals.benchmarks.store.graph_overhead import graph_overhead
from hoptrail.evals.benchmarks.store.synthetic import (
    DIMENSION,
    PER_DOCUMENT,
    GivenVectors,
    SyntheticCorpus,
    SyntheticQuery,
)
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import IndexedDocument

MILLION = 1_000_000
_QUERIES = 200
_REPLACEMENTS = 30
_PROBE = """
import json, sys, time
from pathlib import Path
import numpy as np
from hoptrail.rag.store.store import Store
started = time.perf_counter()
store = Store.open(Path(sys.argv[1]))
opened = time.perf_counter() - started
started = time.perf_counter()
rows = len(store.dense(np.full(384, 384 ** -0.5, dtype=np.float32), 50).rows)
rows += len(store.lexical("bbbbbax bbbbcax", 50).rows)
first = time.perf_counter() - started
status = Path("/proc/self/status").read_text().splitlines()
kilobytes = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps([opened, first, kilobytes / 1024, rows]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTimings:
    """Timings of a store at one size, in milliseconds, medians unless named otherwise."""

    passages: int
    ingest_per_second: float
    hybrid_p50: float
    hybrid_p95: float
    bare_p50: float
    bare_p95: float
    ratio: float
    """hybrid_p50 / bare_p50."""
    lexical_p50: float
    dense_p50: float
    filtered_p50: float
    """Hybrid search with a filter that keeps 1 %."""
    replace_p50: float
    """Replacing one document of 20 passages."""
    open_seconds: float
    first_query_seconds: float
    """One query to each index in a fresh process."""
    peak_mb: float
    """Resident memory of that process after its first query."""
    disk_mb: float
    load: float
    """Load average over the last minute: above 0.5 a core the absolute times are too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashSummary:
    """Totals of the crash test: SIGKILL during ingest and replacement."""

    trials: int
    acknowledged: int
    lost: int
    torn: int
    unclean: int
    """Trials after which fsck finds a problem."""


def measure(root: Path, passages: int, batch: int = 1024) -> StoreTimings:
    """Builds a store of `passages` passages, about `batch` a commit, and times it."""
    corpus = SyntheticCorpus(passages, dimension=DIMENSION)
    spec = StoreSpec(embedder=GivenVectors.id, dimension=DIMENSION, graph="none")
    with Store.create(root, spec) as store:
        rate, sources = _filled(store, corpus, batch)
        queries = [corpus.query(sources[at % len(sources)]) for at in range(_QUERIES)]
        searcher = Retriever(store, GivenVectors(queries))
        bare = BareParts(root / store.tenant, passages, DIMENSION)
        searches: list[Callable[[SyntheticQuery], object]] = [
            lambda query: searcher.search(query.text),
            bare.hybrid,
            lambda query: store.lexical(query.text, 50),
            lambda query: store.dense(query.vector, 50),
            lambda query: searcher.search(query.text, where={"tag": query.tag}),
        ]
        hybrid, direct, lexical, dense, filtered = _alternately(searches, queries)
        bare.close()
        opened, first, memory = _fresh_process(root)
        replaced = [_timed(store.commit, [corpus.document(at)]) for at in range(_REPLACEMENTS)]
        disk = store.stats().bytes
    return StoreTimings(
        passages=passages,
        ingest_per_second=rate,
        hybrid_p50=_median(hybrid),
        hybrid_p95=_p95(hybrid),
        bare_p50=_median(direct),
        bare_p95=_p95(direct),
        ratio=_median(hybrid) / _median(direct),
        lexical_p50=_median(lexical),
        dense_p50=_median(dense),
        filtered_p50=_median(filtered),
        replace_p50=_median(replaced),
        open_seconds=opened,
        first_query_seconds=first,
        peak_mb=memory,
        disk_mb=disk / 1e6,
        load=os.getloadavg()[0],
    )


def kills(root: Path, count: int) -> CrashSummary:
    """Runs the crash test on one store."""
    done = trials(root, count)
    return CrashSummary(
        trials=count,
        acknowledged=sum(one.acknowledged for one in done),
        lost=sum(one.lost for one in done),
        torn=sum(one.torn for one in done),
        unclean=sum(not one.report.clean for one in done),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmarks that the arguments choose."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--passages", default="10000,100000", help="sizes, by commas")
    parser.add_argument("--million", action="store_true", help="a million passages as well")
    parser.add_argument("--batch", type=int, default=1024, help="passages of a commit, at least")
    parser.add_argument("--kills", type=int, default=30, help="trials of kill -9; 0: none")
    parser.add_argument("--graph", type=Path, help="a data set: what a graph of its corpus costs")
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    chosen = parser.parse_args(arguments)
    sizes = [int(size) for size in chosen.passages.split(",") if size]
    sizes += [MILLION] if chosen.million else []
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            _print(
                "store",
                asdict(measure(Path(folder) / "store", size, chosen.batch)),
                as_json=chosen.json,
            )
    corpus = () if chosen.graph is None else load_dataset(chosen.graph).documents
    for size in sizes if corpus else ():
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            cost = graph_overhead(Path(folder), corpus, size, chosen.batch, DIMENSION)
            _print("graph", asdict(cost), as_json=chosen.json)
    if chosen.kills > 0:
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            found = kills(Path(folder) / "store", chosen.kills)
            _print("kill -9", asdict(found), as_json=chosen.json)


def _filled(
    store: Store, corpus: SyntheticCorpus, size: int
) -> tuple[float, list[IndexedDocument]]:
    """Passages a second over the commits alone, and some documents to draw queries from."""
    documents, seconds = corpus.documents(), 0.0
    sources: list[IndexedDocument] = []
    while batch := list(islice(documents, -(-size // PER_DOCUMENT))):
        sources.append(batch[len(sources) % len(batch)])
        seconds += _timed(store.commit, batch) / 1e3
    return corpus.size / seconds, sources


def _alternately(
    searches: Sequence[Callable[[SyntheticQuery], object]], queries: Iterable[SyntheticQuery]
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in searches]
    for query in queries:
        for search in searches:
            # Once to embed, cache the filter, and fault pages in; the second time counts.
            search(query)
        for search, spent in zip(searches, times, strict=True):
            spent.append(_timed(search, query))
    return times


def _fresh_process(root: Path) -> tuple[float, float, float]:
    """Seconds to open, seconds of the first query and peak MB, in a process of its own."""
    command = [sys.executable, "-P", "-c", _PROBE, str(root)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    opened, first, memory, rows = json.loads(output)
    assert rows > 0, "A fresh process found nothing."
    return opened, first, memory


def _timed(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return 1e3 * (time.perf_counter() - started)


def _median(times: Sequence[float]) -> float:
    return statistics.median(times)


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _print(title: str, values: dict[str, float], *, as_json: bool) -> None:
    rounded = {key: round(value, 3) for key, value in values.items()}
    if as_json:
        sys.stdout.write(json.dumps({"bench": title, **rounded}) + "\n")
        return
    lines = "".join(f"  {key:<22}{value:>14,}\n" for key, value in rounded.items())
    sys.stdout.write(f"{title}\n{lines}")


if __name__ == "__main__":
    main()
