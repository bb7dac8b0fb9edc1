"""The charges of a ledger: each reservation with its cost so far, their sums, and the flags.

Every change is a line of the ledger's journal; `Charges.apply` makes the same change from a line
that an earlier process wrote.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from hoptrail.agents.budget.limits import Flag, Reservation, Usage


@dataclass(slots=True)
class _Charge:
    """A reservation and its cost so far."""

    reservation: Reservation
    usage: Usage
    open: bool = True


class Charges:
    """The charges of one ledger. Not thread-safe: the ledger holds a lock."""

    def __init__(self) -> None:
        self._charges: list[_Charge] = []
        self._totals: dict[str | None, Usage] = {}  # running sums: to add up all charges is slow
        self._flags: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._charges)

    def total(self, share: str | None = None) -> Usage:
        """Sum over every charge, or over those of one share."""
        return self._totals.get(share, Usage())

    def flags(self) -> tuple[Flag, ...]:
        """Oddities by node and reason, in an order that does not depend on who settled first."""
        return tuple(
            Flag(node=node, reason=reason, count=count)
            for (node, reason), count in sorted(self._flags.items())
        )

    def add(self, reservation: Reservation) -> None:
        """Charges a new reservation whole."""
        assert reservation.id == len(self._charges)
        self._charges.append(_Charge(reservation, reservation.whole()))
        self._count(reservation, reservation.whole())

    def check_open(self, reservation: Reservation) -> None:
        """Checks that a reservation is of this ledger and not settled yet."""
        charge = self._charges[reservation.id]
        assert charge.reservation == reservation, "a reservation of another ledger"
        assert charge.open, "settled twice"

    def close(self, number: int, usage: Usage, flag: str | None) -> None:
        """Replaces the charge of a reservation by its cost, for good."""
        charge = self._charges[number]
        charge.open = False
        self._count(charge.reservation, usage - charge.usage)
        charge.usage = usage
        if flag is not None:
            self._flags[charge.reservation.node, flag] += 1

    def forfeit_open(self) -> None:
        """Closes what a process that died left open; each counts whole."""
        for number, charge in enumerate(self._charges):
            if charge.open:
                self.close(number, charge.usage, None)

    def apply(self, line: Mapping[str, Any]) -> None:
        """Makes the change of one line of the journal.

        Raises:
            KeyError, IndexError, TypeError, ValueError: the line is of no ledger.
        """
        if line["op"] == "reserve":
            # Ledgers of earlier versions lack the newest fields.
            known = {f.name: line[f.name] for f in fields(Reservation) if f.name in line}
            reservation = Reservation(**known)
            if reservation.id != len(self._charges):
                raise ValueError("reservations out of order")
            self.add(reservation)
        elif line["op"] == "settle":
            usage = replace(
                self._charges[line["id"]].usage,
                prompt_tokens=line["prompt_tokens"],
                completion_tokens=line["completion_tokens"],
            )
            self.close(line["id"], usage, line["flag"])
        elif line["op"] == "resume":
            self.forfeit_open()

    def open_until(self, died: float) -> float:
        """The run's seconds at which the last open call may have ended.

        Args:
            died: when the process was surely dead, in seconds of the wall clock.

        Returns:
            The latest of the ends; 0 if nothing is open.
        """
        ends = (c.reservation.open_until(died) for c in self._charges if c.open)
        return max(ends, default=0.0)

    def _count(self, reservation: Reservation, change: Usage) -> None:
        for share in {None, reservation.share}:
            self._totals[share] = self.total(share) + change
