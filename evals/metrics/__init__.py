"""Metrics of rankings (recall, nDCG) and of short answers (exact match, F1, containment)."""

from hoptrail.evals.metrics.aggregate import Mean, average
from hoptrail.evals.metrics.answers import contains, exact_match, f1
from hoptrail.evals.metrics.ranking import ndcg, recall

__all__ = ["Mean", "average", "contains", "exact_match", "f1", "ndcg", "recall"]
