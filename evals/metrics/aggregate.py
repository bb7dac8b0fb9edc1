"""Means of metrics over questions, without the questions that have no gold.

A metric of None (no gold) is not zero: `average` leaves it out and counts what remains.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """Mean and the number of values it was taken over."""

    value: float | None
    """None: no question could be scored."""

    count: int


def average(values: Iterable[float | None]) -> Mean:
    """Mean of the values that are not None."""
    scored = [value for value in values if value is not None]
    value = math.fsum(scored) / len(scored) if scored else None
    return Mean(value=value, count=len(scored))
