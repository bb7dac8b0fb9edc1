"""Measures of rankings and of short answers, each with the source of its formula.

Every measure is 0..1, higher is better. None means that nothing can be scored (no gold), which is
not zero: `average` leaves it out and counts what remains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set


def first_occurrences(record_ids: Iterable[str]) -> tuple[str, ...]:
    """A ranking of passages as a ranking of their records: each where it occurs first."""
    return tuple(dict.fromkeys(record_ids))


def recall(ranking: Sequence[str], relevant: Set[str], k: int) -> float | None:
    """`recall@k`: share of the relevant records among the first k (trec_eval's recall.k).

    Args:
        ranking: record ids, best first; passages of one record count once, at the best place.
        relevant: ids of the supporting records; empty: None is returned.
        k: at least 1.
    """
    assert k >= 1
    if not relevant:
        return None
    return len(relevant & set(first_occurrences(ranking)[:k])) / len(relevant)


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float | None:
    """`ndcg@k` with linear gain (trec_eval's ndcg_cut; Järvelin & Kekäläinen 2002).

    DCG@k is the sum of grade / log2(rank + 1), ranks from 1. It is divided by that of the best
    possible ranking of all judged records. Records without a grade are 0.
    """
    assert k >= 1
    ideal = _dcg(sorted(grades.values(), reverse=True)[:k])
    if ideal <= 0:
        return None
    return _dcg([grades.get(record, 0) for record in first_occurrences(ranking)[:k]]) / ideal


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
