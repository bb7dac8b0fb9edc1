"""Benchmark of tree search in one document of a million characters: time, memory and word recall.

    python -m hoptrail.evals.benchmarks.tree DATA --medical [--questions N]

The questions have no supporting passages but answers of a sentence or two, so the score is the
share of an answer's words that occur in the first five passages found.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from hoptrail.evals.benchmarks.tree.ground_truth import labelled_tree
from hoptrail.evals.benchmarks.tree.local_search import FUSION, fused, search_questions
from hoptrail.evals.benchmarks.tree.scaling import depth_of, peak_mb
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.ingest.pipeline import IngestEvent
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.text.analyzer import index_terms
from hoptrail.rag.tree.search.types import TreeSearchSettings
from hoptrail.rag.types import Candidates

SET = "graphrag_bench_medical"
FIRST = 5
"""Passages whose words count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongDocumentScore:
    """Cost and word recall of a long document; `*_words` are percent of the answers' words."""

    set: str
    characters: int
    passages: int
    ingest_s: float
    """Seconds of ingest; of a store that is kept: seconds of finding nothing new."""
    tree_s: float
    tree_cpu_s: float
    peak_mb: float
    """Peak memory of this process in MiB, embedder included."""
    nodes: int
    depth: int
    questions: int
    calls: float
    looked: float
    search_ms: float
    """Median milliseconds of a tree search with the local scorer."""
    hybrid_words: float
    tree_words: float
    fused_words: float


def long_document(folder: Path, cache: StoreCache, most: int) -> LongDocumentScore:
    """Ingests a data set, builds its tree and searches for `most` of its questions.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    dataset = load_dataset(folder)
    started = time.perf_counter()
    made = prepare_store(dataset, cache, _ignore_event)
    ingested = time.perf_counter() - started
    with labelled_tree(folder, cache, most=most) as (labelled, store):
        walked = search_questions(labelled, Retriever(store, cache.embedder), TreeSearchSettings())
        asked = {one.question: one.answers for one in dataset.questions}

        def share(rankings: Iterable[Candidates]) -> float:
            return 100 * fmean(
                _word_recall(labelled.leaves.texts(one.rows[:FIRST]), asked[walk.asked.text])
                for one, walk in zip(rankings, walked, strict=True)
            )

        return LongDocumentScore(
            set=dataset.name,
            characters=sum(len(one.text) for one in dataset.documents),
            passages=made.passages,
            ingest_s=ingested,
            tree_s=labelled.seconds,
            tree_cpu_s=labelled.cpu_seconds,
            peak_mb=peak_mb(),
            nodes=len(labelled.tree.nodes),
            depth=depth_of(labelled.tree),
            questions=len(walked),
            calls=fmean(one.found.calls for one in walked),
            looked=fmean(one.found.looked for one in walked),
            search_ms=1e3 * median(one.seconds for one in walked),
            hybrid_words=share(one.cheap for one in walked),
            tree_words=share(one.leaves for one in walked),
            fused_words=share(fused(one, FUSION) for one in walked),
        )


def _word_recall(texts: Sequence[str], answers: Sequence[str]) -> float:
    """Share of the answer's words that occur in the texts, 0..1."""
    wanted = {word for answer in answers for word in index_terms("english", answer)}
    found = {word for text in texts for word in index_terms("english", text)}
    return len(wanted & found) / max(1, len(wanted))


def _ignore_event(_event: IngestEvent) -> None:
    """Ignores an ingest event."""
