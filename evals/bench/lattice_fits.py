"""The calibrations alone, on made-up slates: how well each orders leaves, and how long it takes.

24 slates of 14 leaves never seen before and up to 10 anchors that were: the largest history that
one search has, 336 leaves and 566 scores. No tree, no choice of what to open: every calibration is
given the same scores.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from hoptrail.evals.bench.lattice_gradient import gradient
from hoptrail.rag.tree.search.calibration import (
    Calibrate,
    Floats,
    Numbers,
    Observations,
    last,
    mean,
    ridge,
)

FITS: Mapping[str, Calibrate] = {"ridge": ridge, "gradient": gradient, "mean": mean, "last": last}
SLATES = 24
FRESH = 14
ANCHORS = 10
SPREADS = ((0.05, 0.08), (0.15, 0.08), (0.15, 0.10), (0.15, 0.15), (0.25, 0.10), (0.25, 0.15))
"""Standard deviations of a slate's bias and of a score's noise."""
K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One calibration on scores of one kind; means over the seeds."""

    fit: str
    bias: float
    noise: float
    seeds: int
    ndcg_10: float
    """Against the true relevance as gain."""
    spearman: float
    """Rank correlation with the true relevance, -1..1."""
    ms: float
    """Median of a fit, or of the faster half where the machine is busy."""


def fits(
    seeds: int, spreads: Sequence[tuple[float, float]] = SPREADS, anchors: int = ANCHORS
) -> list[Fit]:
    """Every calibration on every kind of scores, each pair of them on the same `seeds` draws."""
    found = []
    for bias, noise in spreads:
        drawn = [observed(bias, noise, anchors, seed) for seed in range(seeds)]
        for name, calibrate in FITS.items():
            values, spent = [], []
            for seen, _ in drawn:
                started = time.perf_counter()
                values.append(calibrate(seen).values)
                spent.append(time.perf_counter() - started)
            pairs = [(one, truth) for one, (_, truth) in zip(values, drawn, strict=True)]
            found.append(
                Fit(
                    fit=name,
                    bias=bias,
                    noise=noise,
                    seeds=seeds,
                    ndcg_10=fmean(graded_ndcg(one, truth) for one, truth in pairs),
                    spearman=fmean(spearman(one, truth) for one, truth in pairs),
                    ms=1e3 * median(spent),
                )
            )
    return found


def observed(bias: float, noise: float, anchors: int, seed: int) -> tuple[Observations, Floats]:
    """Scores of made-up slates, and the true relevance of the leaves, (336,)."""
    random = np.random.default_rng(seed)
    truth = random.beta(1, 3, SLATES * FRESH)
    scores: list[Floats] = []
    items: list[Numbers] = []
    for slate in range(SLATES):
        fresh = np.arange(slate * FRESH, (slate + 1) * FRESH)
        old = _drawn(random, scores, items, min(anchors, slate * FRESH))
        shown = np.concatenate((fresh, old))
        given: Floats = truth[shown] + random.normal(0, bias) + random.normal(0, noise, len(shown))
        scores.append(np.clip(given, 0, 1).round(2))
        items.append(shown)
    seen = Observations(
        slates=np.repeat(np.arange(SLATES), [len(one) for one in items]),
        items=np.concatenate(items),
        scores=np.concatenate(scores),
    )
    return seen, truth


def _drawn(
    random: np.random.Generator,
    scores: Sequence[Floats],
    items: Sequence[Numbers],
    count: int,
) -> Numbers:
    """Anchors without replacement, by e to the power of what they scored so far."""
    if not count:
        return np.empty(0, dtype=np.int64)
    seen = np.concatenate(items)
    known = np.bincount(seen, np.concatenate(scores)) / np.bincount(seen)
    odds = np.exp(known)
    return random.choice(len(known), count, replace=False, p=odds / odds.sum())


def graded_ndcg(values: Floats, truth: Floats, k: int = K) -> float:
    """nDCG@k with the true relevance as linear gain; equal values in the order of a draw."""
    order = np.lexsort((np.random.default_rng(len(values)).random(len(values)), -values))[:k]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.sort(truth)[::-1][:k]
    return float(truth[order] @ discount[: len(order)] / (ideal @ discount[: len(ideal)]))


def spearman(values: Floats, truth: Floats) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(values), _ranks(truth))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[inverse]
    return ranks
