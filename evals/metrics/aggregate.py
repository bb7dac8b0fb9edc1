"""Measures of rankings and of short answers, each with the source of its formula.

Every measure is 0..1, higher is better. None means that nothing can be scored (no gold), which is
not zero: `average` leaves it out and counts what remains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean and over how many values it was taken."""

    value: float | None
    """None: there was nothing to score."""

    count: int


def average(values: Iterable[float | None]) -> Mean:
    """The mean of the values that are not None."""
    scored = [value for value in values if value is not None]
    value = math.fsum(scored) / len(scored) if scored else None
    return Mean(value=value, count=len(scored))
