"""Report of an evaluation run: mean of each metric, cost statistics, counts of outcomes.

`Report.record()` is the JSON of `hoptrail eval --json` and of `report.json`:

- each metric is a number 0..1 under its own name (`recall@2`, `recall@5`, `recall@10`,
  `recall@20`, `ndcg@10`, `em`, `f1`, `contains`, `abstention_precision`, `abstention_recall`,
  `over_abstention`), or null where nothing could be scored; `counts` has, under the same names,
  the number of questions in the mean;
- `calls`, `tokens`, `searches`, `seconds` are objects of `mean`, `p50`, `p95`, `total`, over the
  `completed` runs, which ended without an error;
- `outcomes`, `abstain_reasons`, `stop_reasons` count runs; `failed` and `failures` are the runs
  that ended in an error, which score 0 in every metric that has gold; `fallbacks` counts role
  calls that a local player answered in the model's place.

Abstaining: *recall* is the share of unanswerable questions that were abstained on, *precision* the
share of unanswerable ones among all abstained on, *over-abstention* the share of answerable
questions abstained on (lower is better).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hoptrail.agents import Usage
from hoptrail.evals.metrics.aggregate import Mean, average
from hoptrail.evals.results import SCORES, QuestionResult

COSTS = ("calls", "tokens", "searches", "seconds")
_FAILURES_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CostStats:
    """Statistics of one cost over the completed runs; seconds include waiting for other runs."""

    mean: float
    p50: float
    p95: float
    """Percentiles with linear interpolation (NumPy's default)."""
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Question whose run ended in an error."""

    id: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Report of an evaluation run over a question set."""

    dataset: str
    strategy: str
    model: str
    """The served model's name; empty: the local players."""
    questions: int
    failed: int
    fallbacks: int
    measures: Mapping[str, Mean]
    costs: Mapping[str, CostStats]
    """Statistics by the names in `COSTS`; empty if no run was completed."""
    outcomes: Mapping[str, int]
    abstain_reasons: Mapping[str, int]
    stop_reasons: Mapping[str, int]
    failures: tuple[Failure, ...]
    """The first 100 failures."""
    missing_records: tuple[str, ...]
    """Records of the corpus that could not be ingested."""
    run: Mapping[str, Any]
    """All settings that decided the results: hashes, strategy, model, budget, settings, store."""

    def record(self) -> dict[str, Any]:
        """The report as a flat JSON object; its keys are in the docstring of the module."""
        return {
            "dataset": self.dataset,
            "strategy": self.strategy,
            "model": self.model,
            "questions": self.questions,
            "completed": self.questions - self.failed,
            "failed": self.failed,
            "fallbacks": self.fallbacks,
            **{name: mean.value for name, mean in self.measures.items()},
            "counts": {name: mean.count for name, mean in self.measures.items()},
            **{name: asdict(spread) for name, spread in self.costs.items()},
            "outcomes": dict(self.outcomes),
            "abstain_reasons": dict(self.abstain_reasons),
            "stop_reasons": dict(self.stop_reasons),
            "failures": [asdict(failure) for failure in self.failures],
            "missing_records": list(self.missing_records),
            "run": dict(self.run),
        }


def summarise(
    rows: Sequence[QuestionResult],
    *,
    dataset: str,
    missing_records: tuple[str, ...],
    run: Mapping[str, Any],
) -> Report:
    """Summarises the results of a run.

    Args:
        rows: one result for each question.
        dataset: name of the data set.
        missing_records: ids of records that could not be ingested.
        run: all settings that decided the results; needs `strategy` and `model`.
    """
    ended = [row for row in rows if not row.error]
    failures = [Failure(id=row.id, error=row.error) for row in rows if row.error]
    model = run.get("model")
    return Report(
        dataset=dataset,
        strategy=str(run["strategy"]),
        model=str(model["name"]) if model else "",
        questions=len(rows),
        failed=len(failures),
        fallbacks=sum(row.fallbacks for row in ended),
        measures=_measures(rows),
        costs=_costs([row.usage for row in ended]),
        outcomes=_counted(row.outcome for row in ended),
        abstain_reasons=_counted(row.reason for row in ended),
        stop_reasons=_counted(row.stop for row in ended),
        failures=tuple(failures[:_FAILURES_KEPT]),
        missing_records=missing_records,
        run=run,
    )


def _measures(rows: Sequence[QuestionResult]) -> dict[str, Mean]:
    scored = {name: average(row.scores.get(name) for row in rows) for name in SCORES}
    abstained = {row.id for row in rows if row.outcome == "abstained"}
    unanswerable = {row.id for row in rows if row.unanswerable}
    answerable = {row.id for row in rows} - unanswerable
    return {
        **scored,
        "abstention_precision": _share(abstained, unanswerable),
        "abstention_recall": _share(unanswerable, abstained),
        "over_abstention": _share(answerable, abstained),
    }


def _share(whole: set[str], part: set[str]) -> Mean:
    """Share of the elements of `whole` that are in `part`."""
    return average(float(one in part) for one in whole)


def _costs(usages: Sequence[Usage]) -> dict[str, CostStats]:
    if not usages:
        return {}
    return {name: _spread([getattr(usage, name) for usage in usages]) for name in COSTS}


def _spread(values: Sequence[float]) -> CostStats:
    p50, p95 = np.percentile(values, [50, 95])
    return CostStats(
        mean=float(np.mean(values)), p50=float(p50), p95=float(p95), total=float(np.sum(values))
    )


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    """Count of each value, most frequent first."""
    return dict(Counter(value for value in values if value is not None).most_common())
