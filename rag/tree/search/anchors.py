"""Anchors of a slate: leaves scored before, sampled to be shown again beside new items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BY_STANDING = 0.7
"""The share drawn by standing; the rest is drawn uniformly, so that low scores occur too."""


def sample_anchors(
    standings: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Samples `count` places by their scores as anchors; all where there are no more.

    First with odds exp(standing), without replacement (LATTICE, section 3.3), by the Gumbel trick
    (the largest of standing + Gumbel noise are such a draw); then evenly from the rest.
    """
    if len(standings) <= count:
        return np.arange(len(standings))
    by_standing = round(_BY_STANDING * count)
    order = np.argsort(-(standings + random.gumbel(size=len(standings))), kind="stable")
    rest = random.permutation(order[by_standing:])
    return np.concatenate((order[:by_standing], rest[: count - by_standing]))
