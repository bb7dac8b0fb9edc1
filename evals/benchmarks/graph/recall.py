"""Recall@k of BM25, dense, hybrid and graph search on the same stores in the same run.

python -m hoptrail.evals.benchmarks.graph DATA --quality [--sets NAME...] [--variants NAME...]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from hoptrail.evals.benchmarks.graph.variants import (
    PreparedVariant,
    Variant,
    prepare_variant,
    recorded,
)
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.metrics.ranking import first_occurrences, recall
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Mode

HITS = 30
"""Passages searched: a long record is several, and its first ten records are wanted."""
MODES: Mapping[Mode, str] = {
    "lexical": "BM25",
    "dense": "dense",
    "hybrid": "hybrid",
    "graph": "graph",
}

RankRecords = Callable[[str], Iterable[str]]
"""Maps a question to record ids, best first; an id may repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallScore:
    """Recall of one system on one data set, in percent, means over the questions."""

    set: str
    variant: Variant
    system: str
    questions: int
    recall_2: float
    recall_5: float
    recall_10: float | None
    """None: the recorded rankings are shorter than ten."""
    all_5: float
    """Percent of the questions with all supports among the first five."""
    ms: float | None
    """Median milliseconds of a search; None for recorded rankings."""


def quality(folder: Path, variant: Variant, cache: StoreCache, most: int) -> list[RecallScore]:
    """Recall of all search modes on a data set, and of another system's recorded rankings.

    Args:
        folder: the data set.
        variant: as it is, without titles, or without capitals.
        cache: keeps its store.
        most: questions at most, spread evenly over the set.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepare_variant(folder, variant, cache)
    questions = scorable(made.dataset.questions)
    questions = questions[:: -(-len(questions) // most)]
    found: list[RecallScore] = []
    with Store.open(made.store.root, embedder=cache.embedder) as store:
        searcher = Retriever(store, cache.embedder)
        # No mode is charged for embedding the questions.
        cache.embedder.embed([one.question for one in questions], "query")
        found += [score(made, MODES[mode], _ranked(searcher, mode), questions) for mode in MODES]
        others = recorded(folder) if variant == "whole" else {}
        covered = [one for one in questions if one.id in others]
        if covered:
            found.append(_recorded_score(made, others, covered))
            beside = score(made, "graph, same questions", _ranked(searcher, "graph"), covered)
            found.append(beside)
    return found


def scorable(questions: Iterable[Question]) -> list[Question]:
    """The questions whose recall can be scored: all supports are known."""
    return [one for one in questions if one.support_is_whole]


def score(
    made: PreparedVariant, system: str, rank: RankRecords, questions: Sequence[Question]
) -> RecallScore:
    """Recall of a system on some questions, with the median time of a search."""
    rankings, spent = [], []
    for one in questions:
        started = time.perf_counter()
        ids = first_occurrences(rank(one.question))
        spent.append(time.perf_counter() - started)
        rankings.append(ids)
    return _score_of(made, system, rankings, questions, ms=1e3 * median(spent))


def _score_of(
    made: PreparedVariant,
    system: str,
    rankings: Sequence[Sequence[str]],
    questions: Sequence[Question],
    *,
    ms: float | None,
) -> RecallScore:
    def mean(k: int) -> float:
        pairs = zip(rankings, questions, strict=True)
        return 100 * fmean(
            recall(ranking, frozenset(one.supporting_ids), k) or 0.0 for ranking, one in pairs
        )

    pairs = zip(rankings, questions, strict=True)
    complete = [set(one.supporting_ids) <= set(ranking[:5]) for ranking, one in pairs]
    return RecallScore(
        set=made.name,
        variant=made.variant,
        system=system,
        questions=len(questions),
        recall_2=mean(2),
        recall_5=mean(5),
        recall_10=None if ms is None else mean(10),
        all_5=100 * fmean(complete),
        ms=ms,
    )


def _recorded_score(
    made: PreparedVariant, others: Mapping[str, Sequence[str]], covered: Sequence[Question]
) -> RecallScore:
    return _score_of(made, "recorded", [others[one.id] for one in covered], covered, ms=None)


def _ranked(searcher: Retriever, mode: Mode) -> RankRecords:
    def rank(question: str) -> list[str]:
        hits = searcher.search(question, k=HITS, mode=mode).hits
        return [hit.passage.document_id for hit in hits]

    return rank
