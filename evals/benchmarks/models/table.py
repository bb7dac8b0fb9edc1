"""The table of a model benchmark: scores by trial and set, roles, and paired intervals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from hoptrail.evals.benchmarks.models.measured import Measured
from hoptrail.evals.metrics.aggregate import average

DRAWS = 10_000
"""Resamples of the bootstrap."""
_HEAD = (
    f"{'trial':<27} {'set':<20} {'n':>4} {'EM':>6} {'F1':>6} {'cont.':>6} {'written':>8} "
    f"{'abst.':>6} {'calls':>6} {'in':>7} {'out':>6} {'shared':>7} {'s':>7}"
)


def lines(rows: Sequence[Measured], baseline: str) -> Iterator[str]:
    """The lines of the table.

    Args:
        rows: all questions of all trials.
        baseline: the trial that the others are compared with, question by question.
    """
    yield _HEAD
    for trial in dict.fromkeys(row.trial for row in rows):
        mine = [row for row in rows if row.trial == trial]
        sets = list(dict.fromkeys(row.dataset for row in mine))
        for name in sets:
            yield _line(trial, name, [row for row in mine if row.dataset == name])
        if len(sets) > 1:
            yield _line(trial, "all", mine)
    yield ""
    yield f"F1, difference to {baseline!r} on the same questions, with a 95 % interval:"
    yield from _compared(rows, baseline)
    yield ""
    yield "calls of a model by role, used / asked again / fallen back:"
    yield from _role_lines(rows)


def paired(one: Sequence[float], other: Sequence[float], seed: int = 0) -> tuple[float, ...]:
    """Mean of the differences, and its 95 % interval by the bootstrap over pairs.

    Raises:
        ValueError: there are no pairs, or they are not as many on both sides.
    """
    differences = np.subtract(one, other)
    if not len(differences):
        raise ValueError("There are no pairs to compare.")
    draws = np.random.default_rng(seed).integers(len(differences), size=(DRAWS, len(differences)))
    means = differences[draws].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def _line(trial: str, dataset: str, rows: Sequence[Measured]) -> str:
    answerable = [row for row in rows if not row.unanswerable]
    abstained = [float(row.outcome == "abstained") for row in answerable]
    return (
        f"{trial:<27} {dataset:<20} {len(rows):>4} {_percent(r.em for r in answerable):>6} "
        f"{_percent(r.f1 for r in answerable):>6} {_percent(r.contains for r in answerable):>6} "
        f"{_percent(float(r.written) for r in rows):>8} {_percent(abstained):>6} "
        f"{_mean(r.calls for r in rows):>6.1f} {_mean(r.prompt_tokens for r in rows):>7.0f} "
        f"{_mean(r.completion_tokens for r in rows):>6.0f} {_percent(r.prefix for r in rows):>7} "
        f"{_mean(r.seconds for r in rows):>7.1f}"
    )


def _compared(rows: Sequence[Measured], baseline: str) -> Iterator[str]:
    scores: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in rows:
        if row.f1 is not None:
            scores[row.trial][row.dataset, row.id] = row.f1
    base = scores.pop(baseline, {})
    for trial, mine in scores.items():
        common = sorted(base.keys() & mine.keys())
        if common:
            mean, low, high = paired([mine[one] for one in common], [base[one] for one in common])
            interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]"
            yield f"{trial:<27} {100 * mean:+6.1f} {interval} n={len(common)}"


def _role_lines(rows: Sequence[Measured]) -> Iterator[str]:
    for trial in dict.fromkeys(row.trial for row in rows):
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            if row.trial == trial:
                for role, count in row.roles.items():
                    counts[role]["used"] += count.used
                    counts[role]["re_asked"] += count.re_asked
                    counts[role]["fell_back"] += count.fell_back
        if counts:
            roles = ", ".join(
                f"{role} {one['used']}/{one['re_asked']}/{one['fell_back']}"
                for role, one in counts.items()
            )
            yield f"{trial:<27} {roles}"


def _percent(values: Iterable[float | None]) -> str:
    mean = average(values).value
    return "-" if mean is None else f"{100 * mean:.1f}"


def _mean(values: Iterable[float]) -> float:
    return average(values).value or 0.0
