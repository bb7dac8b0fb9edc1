"""Benchmark of score calibration: ridge regression against LATTICE's gradient fit.

    python -m hoptrail.evals.benchmarks.tree --fits [--seeds N]

`gradient` is the reference: 200 steps of AdamW, written in NumPy. LATTICE's repository
(nilesh2797/lattice at b24930d, `calib_utils.py`) departs from its paper
(arXiv 2510.13217, section 3.3): a temperature, weights by score, another optimiser. This is the
repository's version with one repair: it divides by the largest value whatever that is, which flips
every sign when no score is above 0; here values with a small maximum are not divided.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from hoptrail.rag.tree.search.calibration import (
    Calibrate,
    Floats,
    Latent,
    Numbers,
    Observations,
    last,
    mean,
    ridge,
    weights,
)

STEPS = 200
RATE = 1e-2
DECAY = 1e-4
LONGEST = 1.0
"""Largest norm of a gradient (clipping)."""
TEMPERATURE = 5.0
START = 0.01
"""Standard deviation of the values before the first step."""
LEAST_MAXIMUM = 0.1
"""Values are divided by their maximum only if it is above this."""
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def gradient(seen: Observations, *, steps: int = STEPS, seed: int = 0) -> Latent:
    """Latent relevance values that minimise `loss`, by AdamW from θ ~ N(0, 0.01²), a = 1, b = 0.

    A value is a·θ, divided by the largest and cut at 0. Offsets are b in units of scores.

    Args:
        seen: the scores of one query.
        steps: of the optimiser.
        seed: of the initial θ.
    """
    items, slates = int(seen.items.max()) + 1, int(seen.slates.max()) + 1
    random = np.random.default_rng(seed)
    # One vector for one optimiser: θ, then b, then a.
    state = np.concatenate((random.normal(0, START, items), np.zeros(slates), [1.0]))
    shares = _shares(seen)
    momentum, square = np.zeros_like(state), np.zeros_like(state)
    for step in range(1, steps + 1):
        slope = loss_slope(state, seen, shares)
        slope *= min(1.0, LONGEST / (float(np.sqrt(slope @ slope)) + 1e-6))
        momentum = _BETAS[0] * momentum + (1 - _BETAS[0]) * slope
        square = _BETAS[1] * square + (1 - _BETAS[1]) * slope * slope
        root = np.sqrt(square / (1 - _BETAS[1] ** step)) + _EPSILON
        state = state * (1 - RATE * DECAY) - RATE * (momentum / (1 - _BETAS[0] ** step)) / root
    values = state[-1] * state[:items]
    largest = float(values.max())
    if largest > LEAST_MAXIMUM:
        values = values / largest
    return Latent(values=np.clip(values, 0, 1), offsets=state[items:-1] / TEMPERATURE)


def loss(state: Floats, seen: Observations) -> float:
    """The weighted mean of (a·τ·θ[item] + b[slate] − τ·score)², τ = 5.

    Args:
        state: θ of all items, b of all slates, a.
        seen: the scores; their weights are those of `calibration.weights`, normalised to sum 1.
    """
    residuals = _residuals(state, seen)
    return float(_shares(seen) @ (residuals * residuals))


def loss_slope(state: Floats, seen: Observations, shares: Floats) -> Floats:
    """The gradient of `loss`, of the shape of the state; `shares` are the weights."""
    slates = int(seen.slates.max()) + 1
    items = len(state) - 1 - slates
    residual_gradient = 2 * shares * _residuals(state, seen)
    by_item = np.bincount(seen.items, residual_gradient, minlength=items) * (
        state[-1] * TEMPERATURE
    )
    by_slate = np.bincount(seen.slates, residual_gradient, minlength=slates)
    scale = TEMPERATURE * float(residual_gradient @ state[seen.items])
    return np.concatenate((by_item, by_slate, [scale]))


def _shares(seen: Observations) -> Floats:
    counts = weights(seen.scores)
    shares: Floats = counts / counts.sum()
    return shares


def _residuals(state: Floats, seen: Observations) -> Floats:
    items = len(state) - 1 - (int(seen.slates.max()) + 1)
    predicted = state[-1] * TEMPERATURE * state[seen.items] + state[items + seen.slates]
    residuals: Floats = predicted - TEMPERATURE * seen.scores
    return residuals


FITS: Mapping[str, Calibrate] = {"ridge": ridge, "gradient": gradient, "mean": mean, "last": last}
SLATES = 24
FRESH = 14
ANCHORS = 10
SPREADS = ((0.05, 0.08), (0.15, 0.08), (0.15, 0.10), (0.15, 0.15), (0.25, 0.10), (0.25, 0.15))
"""Standard deviations of a slate's bias and of a score's noise, on scores 0..1."""
K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationScore:
    """Quality and speed of one calibration at one bias and noise; means over the seeds."""

    fit: str
    bias: float
    noise: float
    seeds: int
    ndcg_10: float
    """nDCG@10, 0..1, with the true relevance as gain."""
    spearman: float
    """Rank correlation with the true relevance, -1..1."""
    ms: float
    """Median milliseconds of a fit."""


def calibration_scores(
    seeds: int, spreads: Sequence[tuple[float, float]] = SPREADS, anchors: int = ANCHORS
) -> list[CalibrationScore]:
    """Scores of every calibration at every (bias, noise) pair, on the same `seeds` draws."""
    found = []
    for bias, noise in spreads:
        drawn = [synthetic_scores(bias, noise, anchors, seed) for seed in range(seeds)]
        for name, calibrate in FITS.items():
            values, spent = [], []
            for seen, _ in drawn:
                started = time.perf_counter()
                values.append(calibrate(seen).values)
                spent.append(time.perf_counter() - started)
            pairs = [(one, truth) for one, (_, truth) in zip(values, drawn, strict=True)]
            found.append(
                CalibrationScore(
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


def synthetic_scores(
    bias: float, noise: float, anchors: int, seed: int
) -> tuple[Observations, Floats]:
    """Synthetic scores of 24 slates, and the true relevance of the leaves, (336,), 0..1."""
    random = np.random.default_rng(seed)
    truth = random.beta(1, 3, SLATES * FRESH)
    scores: list[Floats] = []
    items: list[Numbers] = []
    for slate in range(SLATES):
        fresh = np.arange(slate * FRESH, (slate + 1) * FRESH)
        old = _drawn_anchors(random, scores, items, min(anchors, slate * FRESH))
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


def _drawn_anchors(
    random: np.random.Generator,
    scores: Sequence[Floats],
    items: Sequence[Numbers],
    count: int,
) -> Numbers:
    """Anchors drawn without replacement, with odds of exp(mean score so far)."""
    if not count:
        return np.empty(0, dtype=np.int64)
    seen = np.concatenate(items)
    known = np.bincount(seen, np.concatenate(scores)) / np.bincount(seen)
    odds = np.exp(known)
    return random.choice(len(known), count, replace=False, p=odds / odds.sum())


def graded_ndcg(values: Floats, truth: Floats, k: int = K) -> float:
    """nDCG@k with the true relevance as linear gain; ties in random order, with a fixed seed."""
    order = np.lexsort((np.random.default_rng(len(values)).random(len(values)), -values))[:k]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.sort(truth)[::-1][:k]
    return float(truth[order] @ discount[: len(order)] / (ideal @ discount[: len(ideal)]))


def spearman(values: Floats, truth: Floats) -> float:
    """Spearman's rank correlation, -1..1; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(values), _ranks(truth))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts - 1) / 2)[inverse]
    return ranks
