"""Ingest time and bytes that the passage graph adds to a store, on a real corpus.

    python -m hoptrail.evals.benchmarks.store --graph DATASET

The same documents, one passage each, go into a store with a graph and one without, a batch to each
in turn, so that a busy machine slows both. The difference in time is the graph's own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from hoptrail.evals.benchmarks.store.synthetic import unit
from hoptrail.rag.store.spec import GraphKind
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Document, IndexedDocument, Passage, Vectors, passage_id

_VECTORS = 1000
_PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOverhead:
    """Cost of the graph at one store size."""

    passages: int
    per_second: float
    """Passages divided by the graph's own seconds: extracting names and writing links."""
    first_per_second: float
    last_per_second: float
    """`per_second` of the first and of the last tenth: equal if the cost does not grow."""
    plain_mb: float
    """Size of the store without a graph."""
    graph_mb: float
    """Bytes that the graph adds, in MB."""
    share: float
    """graph_mb / plain_mb."""
    replace_ms: float
    """Median milliseconds of replacing one document of one passage, with the graph."""


def graph_overhead(
    root: Path, corpus: Sequence[Document], passages: int, batch: int, dimension: int
) -> GraphOverhead:
    """Fills both stores with `passages` documents; a smaller corpus is repeated."""
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(_VECTORS, dimension)))
    documents = _documents(corpus, vectors)
    with (
        _store(root / "links", "links", dimension) as links,
        _store(root / "none", "none", dimension) as plain,
    ):
        spent: list[float] = []
        held = 0
        while held < passages:
            some = list(islice(documents, min(batch, passages - held)))
            spent.append(_seconds(links, some) - _seconds(plain, some))
            held += len(some)
        tenth = max(1, len(spent) // _PARTS)
        replaced = [_seconds(links, [one]) for one in some[:30]]
        for store in (links, plain):
            store.compact()
        bytes_plain = plain.stats().bytes
        added = links.stats().bytes - bytes_plain
    return GraphOverhead(
        passages=passages,
        per_second=passages / sum(spent),
        first_per_second=batch * tenth / sum(spent[:tenth]),
        last_per_second=(held - batch * (len(spent) - tenth)) / sum(spent[-tenth:]),
        plain_mb=bytes_plain / 1e6,
        graph_mb=added / 1e6,
        share=added / bytes_plain,
        replace_ms=1e3 * float(np.median(replaced)),
    )


def _store(root: Path, graph: GraphKind, dimension: int) -> Store:
    return Store.create(root, StoreSpec(embedder="bench", dimension=dimension, graph=graph))


def _seconds(store: Store, documents: Sequence[IndexedDocument]) -> float:
    started = time.perf_counter()
    store.commit(documents)
    return time.perf_counter() - started


def _documents(corpus: Sequence[Document], vectors: Vectors) -> Iterator[IndexedDocument]:
    for number, source in enumerate(cycle(one for one in corpus if one.text)):
        name, end = f"document-{number}", len(source.text)
        passage = Passage(
            id=passage_id(name, 0, end),
            document_id=name,
            start=0,
            end=end,
            title=source.title,
            text=source.text,
        )
        at = number % len(vectors)
        yield IndexedDocument(
            document=Document(id=name, title=source.title, text=source.text),
            passages=[passage],
            vectors=vectors[at : at + 1],
            fingerprint=name,
        )
