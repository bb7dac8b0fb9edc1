"""Thresholds: a measured value and the least that it must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ROW = "{set:<16} {what:<50} {measured:>9} {wanted:>10}  {verdict}"
"""Format of a line of the table of thresholds."""

ProgressLog = Callable[[str], None]
"""Receives lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Measured value and the least that it must be."""

    set: str
    """Name of the data set."""
    what: str
    """What is measured, for the table."""
    measured: float
    wanted: float
    """Least value; both are rounded to one decimal before they are compared."""

    @property
    def reached(self) -> bool:
        """Whether the measured value is at least the wanted one."""
        return round(self.measured, 1) >= round(self.wanted, 1)

    def line(self) -> str:
        """Line of the table of thresholds."""
        return ROW.format(
            set=self.set,
            what=self.what,
            measured=f"{self.measured:.1f}",
            wanted=f">= {self.wanted:.1f}",
            verdict="ok" if self.reached else "MISS",
        )
