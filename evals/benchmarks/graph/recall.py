"""Recall of every mode of search side by side, on the same stores in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from hoptrail.evals.benchmarks.graph.variants import Prepared, Variant, prepared, recorded
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

Rank = Callable[[str], Iterable[str]]
"""A question to record ids, best first; a record may come again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One system on one set; recall in percent, means over the questions."""

    set: str
    variant: Variant
    system: str
    questions: int
    recall_2: float
    recall_5: float
    recall_10: float | None
    """None: so many were not recorded."""
    all_5: float
    """Percent of the questions with all supports among the first five."""
    ms: float | None
    """Median of a search; None: not ours."""


def quality(folder: Path, variant: Variant, cache: StoreCache, most: int) -> list[Score]:
    """All modes on a set, and what was recorded of another system on the questions it covers.

    Args:
        folder: of the set.
        variant: which form of it.
        cache: where its store is kept.
        most: questions asked, spread over the set.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    made = prepared(folder, variant, cache)
    questions = whole(made.dataset.questions)
    questions = questions[:: -(-len(questions) // most)]
    found: list[Score] = []
    with Store.open(made.store.root, embedder=cache.embedder) as store:
        searcher = Retriever(store, cache.embedder)
        # No mode is charged for embedding the questions.
        cache.embedder.embed([one.question for one in questions], "query")
        found += [score(made, MODES[mode], _ranked(searcher, mode), questions) for mode in MODES]
        others = recorded(folder) if variant == "whole" else {}
        covered = [one for one in questions if one.id in others]
        if covered:
            found.append(_theirs(made, others, covered))
            beside = score(made, "graph, same questions", _ranked(searcher, "graph"), covered)
            found.append(beside)
    return found


def whole(questions: Iterable[Question]) -> list[Question]:
    """The questions whose recall may be scored."""
    return [one for one in questions if one.support_is_whole]


def score(made: Prepared, system: str, rank: Rank, questions: Sequence[Question]) -> Score:
    """A system's recall on some questions."""
    rankings, spent = [], []
    for one in questions:
        started = time.perf_counter()
        ids = first_occurrences(rank(one.question))
        spent.append(time.perf_counter() - started)
        rankings.append(ids)
    return _scored(made, system, rankings, questions, ms=1e3 * median(spent))


def _scored(
    made: Prepared,
    system: str,
    rankings: Sequence[Sequence[str]],
    questions: Sequence[Question],
    *,
    ms: float | None,
) -> Score:
    def mean(k: int) -> float:
        pairs = zip(rankings, questions, strict=True)
        return 100 * fmean(
            recall(ranking, frozenset(one.supporting_ids), k) or 0.0 for ranking, one in pairs
        )

    pairs = zip(rankings, questions, strict=True)
    complete = [set(one.supporting_ids) <= set(ranking[:5]) for ranking, one in pairs]
    return Score(
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


def _theirs(
    made: Prepared, others: Mapping[str, Sequence[str]], covered: Sequence[Question]
) -> Score:
    return _scored(made, "recorded", [others[one.id] for one in covered], covered, ms=None)


def _ranked(searcher: Retriever, mode: Mode) -> Rank:
    def rank(question: str) -> list[str]:
        hits = searcher.search(question, k=HITS, mode=mode).hits
        return [hit.passage.document_id for hit in hits]

    return rank
