"""Which leaves that were scored before are shown again, so that slates can be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BY_STANDING = 0.7
"""The share drawn by standing; the rest is drawn evenly, so that the scale has a lower end too."""


def drawn(
    standings: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Draws `count` places of `standings`, each once; all of them where there are no more.

    First with odds exp(standing), without replacement (LATTICE, section 3.3), by the Gumbel trick
    (the largest of standing + Gumbel noise are such a draw); then evenly from the rest.
    """
    if len(standings) <= count:
        return np.arange(len(standings))
    by_standing = round(_BY_STANDING * count)
    order = np.argsort(-(standings + random.gumbel(size=len(standings))), kind="stable")
    rest = random.permutation(order[by_standing:])
    return np.concatenate((order[:by_standing], rest[: count - by_standing]))
