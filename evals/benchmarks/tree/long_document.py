"""One document of a million characters as a tree: time and memory, and whether it is of use.

Its questions have no supporting passages but answers in a sentence or two, so what is scored is how
many of an answer's words stand in the first passages found.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from hoptrail.evals.benchmarks.tree.ground_truth import world_of
from hoptrail.evals.benchmarks.tree.local_search import FUSION, fused, walks
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
"""Passages that an answer is looked for in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneDocument:
    """A document as a tree; `*_words` are percent of the answers' words in the first passages."""

    set: str
    characters: int
    passages: int
    ingest_s: float
    """Of a store that was kept from before: only what it takes to see that."""
    tree_s: float
    tree_cpu_s: float
    peak_mb: float
    """The most memory of this process, embedder included."""
    nodes: int
    depth: int
    questions: int
    calls: float
    looked: float
    search_ms: float
    """Median of a search of the tree, the local scorer's time included."""
    hybrid_words: float
    tree_words: float
    fused_words: float


def one_document(folder: Path, cache: StoreCache, most: int) -> OneDocument:
    """Ingests a set if need be, plants its tree and asks `most` of its questions.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    dataset = load_dataset(folder)
    started = time.perf_counter()
    made = prepare_store(dataset, cache, _unheard)
    ingested = time.perf_counter() - started
    with world_of(folder, cache, most=most) as (world, store):
        walked = walks(world, Retriever(store, cache.embedder), TreeSearchSettings())
        asked = {one.question: one.answers for one in dataset.questions}

        def share(rankings: Iterable[Candidates]) -> float:
            return 100 * fmean(
                _held(world.leaves.texts(one.rows[:FIRST]), asked[walk.asked.text])
                for one, walk in zip(rankings, walked, strict=True)
            )

        return OneDocument(
            set=dataset.name,
            characters=sum(len(one.text) for one in dataset.documents),
            passages=made.passages,
            ingest_s=ingested,
            tree_s=world.seconds,
            tree_cpu_s=world.cpu_seconds,
            peak_mb=peak_mb(),
            nodes=len(world.tree.nodes),
            depth=depth_of(world.tree),
            questions=len(walked),
            calls=fmean(one.found.calls for one in walked),
            looked=fmean(one.found.looked for one in walked),
            search_ms=1e3 * median(one.seconds for one in walked),
            hybrid_words=share(one.cheap for one in walked),
            tree_words=share(one.leaves for one in walked),
            fused_words=share(fused(one, FUSION) for one in walked),
        )


def _held(texts: Sequence[str], answers: Sequence[str]) -> float:
    """The share of the words of the answer that stand in the texts."""
    wanted = {word for answer in answers for word in index_terms("english", answer)}
    found = {word for text in texts for word in index_terms("english", text)}
    return len(wanted & found) / max(1, len(wanted))


def _unheard(_event: IngestEvent) -> None:
    """Ingest's events."""
