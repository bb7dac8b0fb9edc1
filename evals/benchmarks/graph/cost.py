"""What the passage graph costs at a size: building it, its bytes, a query, an update.

The same documents go into a store with a graph and one without, a batch to each in turn, so that a
busy machine slows both. The two modes of search are asked alternately for the same reason. What a
graph of a real corpus costs is measured by `hoptrail.evals.benchmarks.store --graph`.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hoptrail.evals.benchmarks.graph.synthetic_names import NamedCorpus
from hoptrail.evals.benchmarks.store.__main__ import DIMENSION, GivenVectors
from hoptrail.evals.benchmarks.store.synthetic import PER_DOCUMENT, Query
from hoptrail.rag.passage_graph.pagerank import pagerank
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.graph_index.tables import extracted
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Candidates, IndexedDocument

_BATCH = 1000
_QUERIES = 200
_REPLACEMENTS = 30
_SEEDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One size; times in milliseconds."""

    passages: int
    extracted_per_second: float
    """Passages whose names are found, nothing written."""
    graph_per_second: float
    """Passages over the graph's own time: finding names and writing them."""
    graph_per_second_first: float
    graph_per_second_last: float
    """The same of the first and of the last tenth."""
    graph_per_cpu_second: float
    """The same by processor time, which a busy machine does not stretch."""
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
    """The walk alone, from ten hybrid seeds."""
    replace_p50: float
    """One document of 20 passages, with the graph."""
    replace_plain_p50: float
    load: float
    """Of the machine, over the last minute."""


def cost(root: Path, passages: int, *, queries: int = _QUERIES) -> Cost:
    """Fills two stores of that size and measures them."""
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
    own = [some - other for some, other in zip(built, bare, strict=True)]
    tenth = max(1, len(own) // 10)
    return Cost(
        passages=passages,
        extracted_per_second=passages / finding,
        graph_per_second=passages / sum(own),
        graph_per_second_first=_BATCH * tenth / sum(own[:tenth]),
        graph_per_second_last=_BATCH * tenth / sum(own[-tenth:]),
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
    """Seconds by batch with a graph and without, of finding names, and of the graph's processor."""
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


def _asked(store: Store, queries: Sequence[Query]) -> tuple[list[float], list[float], list[float]]:
    """Times of a search by each mode, and of a walk from the hybrid candidates."""
    searcher = Retriever(store, GivenVectors(queries))
    graph, hybrid, walks = [], [], []
    for query in queries:
        # Once to embed and to fault pages in; the second time counts.
        for mode in ("graph", "hybrid"):
            searcher.search(query.text, mode=mode)
        graph.append(_ms(lambda text=query.text: searcher.search(text, mode="graph")))
        hybrid.append(_ms(lambda text=query.text: searcher.search(text, mode="hybrid")))
        walks.append(_walk(store, query))
    return graph, hybrid, walks


def _walk(store: Store, query: Query) -> float:
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
