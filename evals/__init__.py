"""Evaluation: data sets, metrics, runs over a question set, reports, benchmarks."""

from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, Question
from hoptrail.evals.reports.summary import Report
from hoptrail.evals.results import QuestionResult
from hoptrail.evals.runner import EvalConfig, EvalProgress, aevaluate, evaluate

__all__ = [
    "Dataset",
    "EvalConfig",
    "EvalProgress",
    "Question",
    "QuestionResult",
    "Report",
    "aevaluate",
    "evaluate",
    "load_dataset",
]
