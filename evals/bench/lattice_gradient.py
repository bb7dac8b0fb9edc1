"""The reference's calibration: 200 steps of AdamW, written in NumPy, to hold ours against.

LATTICE's repository (nilesh2797/lattice at b24930d, `calib_utils.py`) departs from its paper
(arXiv 2510.13217, section 3.3): a temperature, weights by score, another optimiser. This is the
repository's version with one repair: it divides by the largest value whatever that is, which turns
every sign when no score is above 0; here small maxima are left alone.
"""

from __future__ import annotations

import numpy as np

from hoptrail.rag.tree.search.calibration import Floats, Latent, Observations, weights

STEPS = 200
RATE = 1e-2
DECAY = 1e-4
LONGEST = 1.0
"""Norm that a gradient is cut down to."""
TEMPERATURE = 5.0
START = 0.01
"""Standard deviation of the values before the first step."""
LEAST_MAXIMUM = 0.1
"""A largest value of no more than this is not made 1."""
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def gradient(seen: Observations, *, steps: int = STEPS, seed: int = 0) -> Latent:
    """Latent values by minimising `loss` from θ ~ N(0, 0.01²), a = 1, b = 0.

    A value is a·θ, divided by the largest and cut at 0. Offsets are b in units of scores.

    Args:
        seen: the scores of one query.
        steps: of the optimiser.
        seed: of the start.
    """
    items, slates = int(seen.items.max()) + 1, int(seen.slates.max()) + 1
    random = np.random.default_rng(seed)
    # One vector for one optimiser: θ, then b, then a.
    state = np.concatenate((random.normal(0, START, items), np.zeros(slates), [1.0]))
    shares = _shares(seen)
    mean, square = np.zeros_like(state), np.zeros_like(state)
    for step in range(1, steps + 1):
        slope = loss_slope(state, seen, shares)
        slope *= min(1.0, LONGEST / (float(np.sqrt(slope @ slope)) + 1e-6))
        mean = _BETAS[0] * mean + (1 - _BETAS[0]) * slope
        square = _BETAS[1] * square + (1 - _BETAS[1]) * slope * slope
        root = np.sqrt(square / (1 - _BETAS[1] ** step)) + _EPSILON
        state = state * (1 - RATE * DECAY) - RATE * (mean / (1 - _BETAS[0] ** step)) / root
    values = state[-1] * state[:items]
    largest = float(values.max())
    if largest > LEAST_MAXIMUM:
        values = values / largest
    return Latent(values=np.clip(values, 0, 1), offsets=state[items:-1] / TEMPERATURE)


def loss(state: Floats, seen: Observations) -> float:
    """The weighted mean of (a·τ·θ[item] + b[slate] − τ·score)², τ = 5.

    Args:
        state: θ of all items, b of all slates, a.
        seen: the scores; their weights are those of `calibrate.weights`, summing to 1.
    """
    residuals = _residuals(state, seen)
    return float(_shares(seen) @ (residuals * residuals))


def loss_slope(state: Floats, seen: Observations, shares: Floats) -> Floats:
    """The gradient of `loss`, of the shape of the state; `shares` are the weights."""
    slates = int(seen.slates.max()) + 1
    items = len(state) - 1 - slates
    pull = 2 * shares * _residuals(state, seen)
    by_item = np.bincount(seen.items, pull, minlength=items) * (state[-1] * TEMPERATURE)
    by_slate = np.bincount(seen.slates, pull, minlength=slates)
    scale = TEMPERATURE * float(pull @ state[seen.items])
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
