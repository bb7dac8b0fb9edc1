"""The budget ledger of a run: each call, token, search and second is reserved, then spent.

The ledger lives in a file outside the graph's state, since a checkpoint is written after a node
and a crash inside it would forget what the node spent. A line is written before each spend and
another when the true cost is known; on resume a reservation that was never settled counts whole.

A reservation is an upper bound of the cost, so `spent <= budget` holds in calls, tokens and
searches whatever a server does or reports. Of the seconds the ledger promises that nothing *starts*
after the deadline, and that model calls are cut at it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from hoptrail.agents.budget.journal import Journal, JournalError
from hoptrail.agents.budget.limits import (
    Budget,
    BudgetStop,
    Flag,
    Left,
    OutOfBudget,
    ReportedUsage,
    Reservation,
    Share,
    Usage,
    parts,
)
from hoptrail.rag.errors import SettingsError

__all__ = [
    "Budget",
    "BudgetStop",
    "Flag",
    "Ledger",
    "Left",
    "OutOfBudget",
    "Reservation",
    "Share",
    "Usage",
]

_VERSION = 1


@dataclass(slots=True)
class _Charge:
    """A reservation and its cost so far."""

    reservation: Reservation
    usage: Usage
    open: bool = True


class Ledger:
    """The ledger of a run's budget, safe for parallel tasks and threads; see `Ledger.open`."""

    def __init__(
        self, budget: Budget, clock: Callable[[], float], journal: Journal | None, elapsed: float
    ) -> None:
        self.budget = budget
        self._clock = clock
        self._journal = journal
        self._start = clock() - elapsed
        self._charges: list[_Charge] = []
        self._totals: dict[str | None, Usage] = {}  # running sums: to add up all charges is slow
        self._flags: list[Flag] = []
        self._divisions = 0
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls,
        path: Path | None,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        *,
        waited: float = 0.0,
    ) -> Ledger:
        """Opens the ledger of a run, new or after a crash.

        Args:
            path: its file; None keeps it in memory.
            budget: the limits; those of a run that goes on must be the ones it began with.
            clock: seconds that only grow. Elapsed time is what is stored, so a resumed process
                with another clock goes on counting where the last line stood.
            waited: seconds that the run waited before; they count.

        Raises:
            JournalError: the file is damaged or another process has it open.
            SettingsError: the file was begun with another budget.
        """
        journal = Journal(path) if path is not None else None
        lines = journal.lines if journal is not None else []
        try:
            _check_header(lines, budget)
            elapsed = max((float(line.get("t", 0.0)) for line in lines), default=0.0)
            ledger = cls(budget, clock, journal, elapsed + waited)
            for line in lines[1:]:
                ledger._replay(line)
        except (SettingsError, KeyError, IndexError, TypeError, ValueError) as error:
            if journal is not None:
                journal.close()
            if isinstance(error, SettingsError):
                raise
            raise JournalError(f"File {str(path)!r} is not a ledger: delete the run.") from error
        if not lines:
            ledger._write("open", {"v": _VERSION, "budget": _as_dict(budget)})
        return ledger

    def close(self) -> None:
        """Writes the time used so far and closes the file."""
        if self._journal is not None:
            try:
                self._write("tick", {})
            finally:
                self._journal.close()
                self._journal = None

    def reserve_call(
        self,
        *,
        node: str,
        prompt_tokens: int,
        completion_tokens: int,
        least: int | None = None,
        share: Share | None = None,
    ) -> Reservation:
        """Sets aside one HTTP attempt and the most tokens it can cost.

        Args:
            node: the node that spends, for the flags and the file.
            prompt_tokens: upper bound on the tokens of the prompt.
            completion_tokens: the most the reply may have, cut to what is left.
            least: the fewest completion tokens that it may be cut to; None: it may not be cut.
            share: the part of the budget it is taken from; None: all that is left.

        Returns:
            The reservation; ask for its `completion_tokens`, not for those wished for.

        Raises:
            OutOfBudget: no time, call or tokens are left for it; nothing was set aside.
        """
        least = completion_tokens if least is None else least
        assert prompt_tokens >= 0
        assert 0 <= least <= completion_tokens
        with self._mutex:
            left = self.left(share)
            if left.seconds <= 0:
                raise OutOfBudget("out_of_time")
            if left.calls < 1:
                raise OutOfBudget("out_of_calls")
            granted = min(completion_tokens, left.tokens - prompt_tokens)
            if granted < least:
                raise OutOfBudget("out_of_tokens")
            return self._reserve("call", node, share, prompt_tokens, granted)

    def reserve_search(self, *, node: str, share: Share | None = None) -> Reservation:
        """Sets aside one search.

        Raises:
            OutOfBudget: no time or search is left; nothing was set aside.
        """
        with self._mutex:
            left = self.left(share)
            if left.seconds <= 0:
                raise OutOfBudget("out_of_time")
            if left.searches < 1:
                raise OutOfBudget("out_of_searches")
            return self._reserve("search", node, share, 0, 0)

    def settle(self, reservation: Reservation, reported: ReportedUsage | None) -> Usage:
        """Replaces a reserved call by its reported cost, and returns the cost counted.

        A report outside the reservation (or none) is flagged and the reservation is kept.
        """
        with self._mutex:
            charge = self._open_charge(reservation)
            reason = reservation.implausibility(reported)
            if reason is None and reported is not None:
                self._cost(charge, reported.prompt_tokens, reported.completion_tokens)
            self._close(charge, reason)
            return charge.usage

    def forfeit(self, reservation: Reservation) -> Usage:
        """Settles a call without an answer that a model may have worked on: it counts whole."""
        with self._mutex:
            charge = self._open_charge(reservation)
            self._close(charge, None)
            return charge.usage

    def settle_search(self, reservation: Reservation) -> Usage:
        """Marks a search as done (it was spent when it was reserved)."""
        return self.forfeit(reservation)

    def spent(self) -> Usage:
        """The usage so far: all that is spent or reserved, and the seconds since the run began."""
        with self._mutex:
            return replace(self._total(None), seconds=self.elapsed())

    def left(self, share: Share | None = None) -> Left:
        """The remaining budget, of the branch that holds `share` if one is given."""
        with self._mutex:
            spent = self._total(None)
            calls = self.budget.calls - spent.calls
            tokens = self.budget.tokens - spent.tokens
            searches = self.budget.searches - spent.searches
            if share is not None:
                used = self._total(share.id)
                calls = min(calls, share.calls - used.calls)
                tokens = min(tokens, share.tokens - used.tokens)
                searches = min(searches, share.searches - used.searches)
        return Left(calls=calls, tokens=tokens, searches=searches, seconds=self.seconds_left())

    def elapsed(self) -> float:
        """Seconds since the run began, those before a crash included."""
        return self._clock() - self._start

    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(0.0, self.budget.seconds - self.elapsed())

    def divide(self, n: int) -> tuple[Share, ...]:
        """Divides what is left among `n` branches, in their order; the first get the remainders.

        Call it before any of them is dispatched. A share is a cap: the branch cannot exceed it,
        and what it does not use stays in the budget. As the caps add up to what is left, every
        branch can spend its own in full, unless something is reserved without a share meanwhile.
        """
        assert n >= 1
        with self._mutex:
            left = self.left()
            self._divisions += 1
            stem = f"{len(self._charges)}.{self._divisions}"
        calls, tokens, searches = (
            parts(max(0, total), n) for total in (left.calls, left.tokens, left.searches)
        )
        return tuple(
            Share(id=f"{stem}.{i}", calls=calls[i], tokens=tokens[i], searches=searches[i])
            for i in range(n)
        )

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Usage reports that were rejected, oldest first."""
        return tuple(self._flags)

    def _total(self, share: str | None) -> Usage:
        """Sum over every charge, or over those of one share."""
        return self._totals.get(share, Usage())

    def _charge(self, reservation: Reservation) -> None:
        self._charges.append(_Charge(reservation, reservation.whole()))
        self._add(reservation, reservation.whole())

    def _cost(self, charge: _Charge, prompt: int, completion: int) -> None:
        usage = replace(charge.usage, prompt_tokens=prompt, completion_tokens=completion)
        self._add(charge.reservation, usage - charge.usage)
        charge.usage = usage

    def _add(self, reservation: Reservation, change: Usage) -> None:
        for share in {None, reservation.share}:
            self._totals[share] = self._total(share) + change

    def _reserve(
        self,
        kind: Literal["call", "search"],
        node: str,
        share: Share | None,
        prompt_tokens: int,
        completion_tokens: int,
    ) -> Reservation:
        reservation = Reservation(
            id=len(self._charges),
            node=node,
            kind=kind,
            share=None if share is None else share.id,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )
        # Written first: if the write fails nothing was set aside and the spend does not happen.
        self._write("reserve", _as_dict(reservation))
        self._charge(reservation)
        return reservation

    def _open_charge(self, reservation: Reservation) -> _Charge:
        charge = self._charges[reservation.id]
        assert charge.reservation == reservation, "a reservation of another ledger"
        assert charge.open, "settled twice"
        return charge

    def _close(self, charge: _Charge, reason: str | None) -> None:
        charge.open = False
        if reason is not None:
            reservation = charge.reservation
            self._flags.append(
                Flag(node=reservation.node, reservation=reservation.id, reason=reason)
            )
        line = {
            "id": charge.reservation.id,
            "prompt_tokens": charge.usage.prompt_tokens,
            "completion_tokens": charge.usage.completion_tokens,
            "flag": reason,
        }
        self._write("settle", line)

    def _write(self, op: str, line: Mapping[str, object]) -> None:
        with self._mutex:
            if self._journal is not None:
                self._journal.append({"op": op, **line, "t": round(self.elapsed(), 6)})

    def _replay(self, line: dict[str, Any]) -> None:
        """Applies one line that an earlier process wrote."""
        if line["op"] == "reserve":
            names = (f.name for f in fields(Reservation))
            reservation = Reservation(**{name: line[name] for name in names})
            if reservation.id != len(self._charges):
                raise ValueError("reservations out of order")
            self._charge(reservation)
        elif line["op"] == "settle":
            charge = self._charges[line["id"]]
            charge.open = False
            self._cost(charge, line["prompt_tokens"], line["completion_tokens"])
            if line["flag"] is not None:
                self._flags.append(
                    Flag(node=charge.reservation.node, reservation=line["id"], reason=line["flag"])
                )


def _check_header(lines: list[dict[str, Any]], budget: Budget) -> None:
    """Checks that a resumed ledger has the format and the budget that it began with."""
    if not lines:
        return
    if lines[0]["op"] != "open" or lines[0]["v"] != _VERSION:
        raise ValueError("no header")
    if lines[0]["budget"] != _as_dict(budget):
        raise SettingsError(
            f"The run began with the budget {lines[0]['budget']!r}, not {_as_dict(budget)!r}: "
            "resume it with the same."
        )


def _as_dict(record: Budget | Reservation) -> dict[str, Any]:
    return {f.name: getattr(record, f.name) for f in fields(record)}
