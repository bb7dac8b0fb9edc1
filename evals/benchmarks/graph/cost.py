"""Build time, bytes, query latency and update time of the passage graph by corpus size.

    python -m hoptrail.evals.benchmarks.graph --cost [--passages 10000,100000]

The same synthetic documents go into a store with a graph and one without, a batch to each in turn,
so that a busy machine slows both. The two modes of search alternate for the same reason. The graph
of a real corpus is measured by `python -m hoptrail.evals.benchmarks.store --graph DATASET`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hoptrail.evals.benchmarks.graph.pagerank import pagerank
from hoptrail.evals.benchmarks.graph.synthetic_names import NamedCorpus
from hoptrail.evals.benchmarks.store.synthetic import (
    DIMENSION,
    PER_DOCUMENT,
    GivenVectors,
    SyntheticQuery,
)
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.graph_index.tables import extracted
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Candidates, IndexedDocument

_BATCH = 1000
_QUERIES = 200
_REPLACEMENTS = 30
_SEEDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageGraphCost:
    """Cost of the passage graph at one corpus size; latencies in milliseconds."""

    passages: int
    extracted_per_second: float
    """Passages whose names are extracted in a second, nothing written."""
    graph_per_second: float
    """Passages divided by the seconds that the graph adds: extracting names and writing links."""
    graph_per_second_first: float
    graph_per_second_last: float
    """`graph_per_second` of the first and of the last tenth of the corpus."""
    graph_per_cpu_second: float
    """`graph_per_second` by processor time, which other processes do not lengthen."""
    ingest_per_second: float
    """Passages committed, without a graph."""
    plain_mb: float
    graph_mb: float
    """What the graph adds, both stores compacted."""
    share: float
    """graph_mb / plain_mb."""
    graph_p50: float
    graph_p95: float
    hybrid_p50: float
    hybrid_p95: float
    pagerank_p50: float
    pagerank_p95: float
    """PageRank alone, from ten dense seeds."""
    replace_p50: float
    """Replacing one document of 20 passages, with the graph."""
    replace_plain_p50: float
    load: float
    """Load average of the machine over the last minute."""


def cost(root: Path, passages: int, *, queries: int = _QUERIES) -> PassageGraphCost:
    """Fills a store with a graph and one without to a size, and measures both.

    Args:
        root: an empty folder.
        passages: of each store.
        queries: searches timed by each mode.
    """
    corpus = NamedCorpus(passages, dimension=DIMENSION)
    with _store(root / "links", "links") as links, _store(root / "none", "none") as plain:
        built, bare, finding, cpu, sources = _filled(corpus, links, plain)
        asked = [corpus.query(sources[at % len(sources)]) for at in range(queries)]
        graph, hybrid, walks = _asked(links, asked)
        replacements = min(queries, _REPLACEMENTS)
        documents = [corpus.document(at, 1) for at in range(replacements)]
        replaced = [(_ms(links.commit, [one]), _ms(plain.commit, [one])) for one in documents]
        for store in (links, plain):
            store.compact()
        size = plain.stats().bytes
        added = links.stats().bytes - size
    added_seconds = [some - other for some, other in zip(built, bare, strict=True)]
    tenth = max(1, len(added_seconds) // 10)
    return PassageGraphCost(
        passages=passages,
        extracted_per_second=passages / finding,
        graph_per_second=passages / sum(added_seconds),
        graph_per_second_first=_BATCH * tenth / sum(added_seconds[:tenth]),
        graph_per_second_last=_BATCH * tenth / sum(added_seconds[-tenth:]),
        graph_per_cpu_second=passages / cpu,
        ingest_per_second=passages / sum(bare),
        plain_mb=size / 1e6,
        graph_mb=added / 1e6,
        share=added / size,
        graph_p50=statistics.median(graph),
        graph_p95=_p95(graph),
        hybrid_p50=statistics.median(hybrid),
        hybrid_p95=_p95(hybrid),
        pagerank_p50=statistics.median(walks),
        pagerank_p95=_p95(walks),
        replace_p50=statistics.median(some for some, _ in replaced),
        replace_plain_p50=statistics.median(other for _, other in replaced),
        load=os.getloadavg()[0],
    )


def _store(root: Path, graph: str) -> Store:
    spec = StoreSpec(embedder=GivenVectors.id, dimension=DIMENSION, graph=graph)  # type: ignore[arg-type]
    return Store.create(root, spec)


def _filled(
    corpus: NamedCorpus, links: Store, plain: Store
) -> tuple[list[float], list[float], float, float, list[IndexedDocument]]:
    """Ingests the corpus into both stores.

    Returns:
        Wall seconds by batch with a graph and without; seconds of name extraction; processor
        seconds that the graph adds; documents to draw queries from.
    """
    documents = corpus.documents()
    built: list[float] = []
    bare: list[float] = []
    finding = cpu = 0.0
    sources: list[IndexedDocument] = []
    while batch := list(islice(documents, _BATCH // PER_DOCUMENT)):
        sources.append(batch[len(sources) % len(batch)])
        finding += _ms(extracted, batch) / 1e3
        for store, spent, sign in ((links, built, 1), (plain, bare, -1)):
            before = time.process_time()
            spent.append(_ms(store.commit, batch) / 1e3)
            cpu += sign * (time.process_time() - before)
    return built, bare, finding, cpu, sources


def _asked(
    store: Store, queries: Sequence[SyntheticQuery]
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of graph search, hybrid search and PageRank, one each a query."""
    searcher = Retriever(store, GivenVectors(queries))
    graph, hybrid, walks = [], [], []
    for query in queries:
        # Once to embed and to fault pages in; the second time counts.
        for mode in ("graph", "hybrid"):
            searcher.search(query.text, mode=mode)
        graph.append(_ms(lambda text=query.text: searcher.search(text, mode="graph")))
        hybrid.append(_ms(lambda text=query.text: searcher.search(text, mode="hybrid")))
        walks.append(_pagerank_ms(store, query))
    return graph, hybrid, walks


def _pagerank_ms(store: Store, query: SyntheticQuery) -> float:
    snapshot = store.snapshot()
    found = snapshot.dense(query.vector, _SEEDS)
    seeds = Candidates(rows=found.rows, scores=found.scores.clip(0) ** 2)
    with snapshot.graph() as graph:
        pagerank(seeds, graph)
        return _ms(pagerank, seeds, graph)


def _ms(call: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    call(*arguments)
    return 1e3 * (time.perf_counter() - started)


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]
