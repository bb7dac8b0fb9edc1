"""Something measured, and the least it must be."""

from __future__ import annotations

from dataclasses import dataclass

ROW = "{set:<16} {what:<50} {measured:>9} {wanted:>10}  {verdict}"
"""A line of the table of floors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """Something measured, and the least it must be."""

    set: str
    what: str
    measured: float
    wanted: float
    """Compared after rounding both to one decimal, as the baselines are given."""

    @property
    def reached(self) -> bool:
        """Whether it holds."""
        return round(self.measured, 1) >= round(self.wanted, 1)

    def line(self) -> str:
        """A line of the table."""
        return ROW.format(
            set=self.set,
            what=self.what,
            measured=f"{self.measured:.1f}",
            wanted=f">= {self.wanted:.1f}",
            verdict="ok" if self.reached else "MISS",
        )
