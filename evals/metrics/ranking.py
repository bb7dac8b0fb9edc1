"""Ranking metrics: recall@k and nDCG@k, each with the source of its formula.

Every metric is 0..1, higher is better. None means that there is no gold to score against.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set


def first_occurrences(record_ids: Iterable[str]) -> tuple[str, ...]:
    """Turns a ranking of passages into one of records: each record at its first occurrence."""
    return tuple(dict.fromkeys(record_ids))


def recall(ranking: Sequence[str], relevant: Set[str], k: int) -> float | None:
    """Recall@k: share of the relevant records among the first k (trec_eval's recall.k).

    Args:
        ranking: record ids, best first; a repeated id counts once, at its first place.
        relevant: ids of the supporting records; if empty, the result is None.
        k: at least 1.
    """
    assert k >= 1
    if not relevant:
        return None
    return len(relevant & set(first_occurrences(ranking)[:k])) / len(relevant)


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float | None:
    """nDCG@k with linear gain (trec_eval's ndcg_cut; Järvelin & Kekäläinen 2002).

    DCG@k is the sum of grade / log2(rank + 1), ranks from 1. It is divided by the DCG@k of the best
    possible ranking of all judged records. Records without a grade have grade 0.
    """
    assert k >= 1
    ideal = _dcg(sorted(grades.values(), reverse=True)[:k])
    if ideal <= 0:
        return None
    return _dcg([grades.get(record, 0) for record in first_occurrences(ranking)[:k]]) / ideal


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
