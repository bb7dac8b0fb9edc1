"""Calibration of scores from many slates: one latent relevance an item, one offset a slate.

A scorer is generous in one call and stingy in the next. Items shown in several slates (the
anchors) show how much: score = relevance of the item + offset of the slate + noise, fitted by
weighted least squares over all scores of one query (LATTICE, arXiv 2510.13217, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]
Calibration = Literal["ridge", "mean", "last"]

PULL = 0.03
"""Ridge penalty that pulls relevance towards the mean score. With less, items shown once rank too
often above items shown often; with more, offsets absorb the difference of a slate of good items."""
STIFFNESS = 1.0
"""Ridge penalty that pulls offsets towards 0; anything from 0.01 to 3 does as well."""
_LEAST_WEIGHT = 0.1
_ROUNDS = 8
"""Two or three are the rule; no search of the bench needed more than five."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Observations:
    """The scores of a search in order of arrival; three arrays of one length, not empty.

    Items and slates are numbered from 0 without a gap.
    """

    slates: Numbers
    items: Numbers
    scores: Floats
    """0..1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Latent:
    """The result of a calibration: relevances and offsets."""

    values: Floats
    """(items,), 0..1: relevance."""
    offsets: Floats
    """(slates,): how much a slate's scores exceed the relevance of its items."""


Calibrate = Callable[[Observations], Latent]


def weights(scores: Floats) -> Floats:
    """The weight of each score: high scores are told apart with more care.

    2·max(sigmoid(s − 0.5), 0.1), as LATTICE's repository has it (b24930d), without the norm.
    """
    counts: Floats = 2 * np.maximum(1 / (1 + np.exp(0.5 - scores)), _LEAST_WEIGHT)
    return counts


def ridge(seen: Observations) -> Latent:
    """Ridge calibration: minimises Σ w r² + PULL·Σ (x − μ)² + STIFFNESS·Σ b², r = x + b − score.

    μ is the weighted mean score. A scale has ends: in a generous slate what is good and what is
    better both get 1. Such a score says "at least 1", so its r is 0 where x + b is above 1, and
    that of a 0 where x + b is below 0 (as in a tobit model: Tobin, Econometrica 26, 1958);
    otherwise an item would pay for every generous slate that it was in. The objective stays convex:
    which scores count is decided anew after each solution, until that changes nothing.
    """
    full = weights(seen.scores)
    centre = float(full @ seen.scores / full.sum())
    counted = full
    for _ in range(_ROUNDS):
        values, offsets = _solved(seen, counted, centre)
        fitted = values[seen.items] + offsets[seen.slates]
        above, below = (seen.scores >= 1) & (fitted > 1), (seen.scores <= 0) & (fitted < 0)
        before, counted = counted, np.where(above | below, 0.0, full)
        if np.array_equal(counted, before):
            break
    return Latent(values=_within(values), offsets=offsets)


def _solved(seen: Observations, w: Floats, centre: float) -> tuple[Floats, Floats]:
    """Values and offsets of the least-squares problem with weights `w`.

    At the minimum an item's x is a weighted mean of its scores less their offsets, so x is put into
    the objective and one system of (slates, slates) remains.
    """
    items, slates = int(seen.items.max()) + 1, int(seen.slates.max()) + 1
    above = seen.scores - centre
    shown = np.bincount(seen.items * slates + seen.slates, w, items * slates)
    shown = shown.reshape(items, slates)
    by_item = np.bincount(seen.items, w * above, items)
    by_slate = np.bincount(seen.slates, w * above, slates)
    held = shown.sum(axis=1) + PULL
    shares = shown / held[:, None]
    system = np.diag(shown.sum(axis=0) + STIFFNESS) - shares.T @ shown
    offsets: Floats = np.linalg.solve(system, by_slate - shares.T @ by_item)
    values: Floats = centre + (by_item - shown @ offsets) / held
    return values, offsets


def mean(seen: Observations) -> Latent:
    """Calibration by the mean of an item's scores; no offsets."""
    counts = np.bincount(seen.items)
    values = np.bincount(seen.items, seen.scores) / counts
    return Latent(values=values, offsets=np.zeros(int(seen.slates.max()) + 1))


def last(seen: Observations) -> Latent:
    """Calibration by an item's last score; no offsets."""
    backwards, where = np.unique(seen.items[::-1], return_index=True)
    values = np.zeros(len(backwards))
    values[backwards] = seen.scores[::-1][where]
    return Latent(values=values, offsets=np.zeros(int(seen.slates.max()) + 1))


CALIBRATIONS: Mapping[Calibration, Calibrate] = MappingProxyType(
    {"ridge": ridge, "mean": mean, "last": last}
)
"""Calibrations by their name in the settings."""


def _within(values: Floats) -> Floats:
    """Values in 0..1: divided by the largest, not cut, since the best would be equal then."""
    shrunk: Floats = np.maximum(values, 0) / max(1.0, float(values.max()))
    return shrunk
