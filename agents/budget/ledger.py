"""The budget ledger of a run: each call, token, search and second is reserved, then spent.

The ledger lives in a file outside the graph's state, since a checkpoint is written after a node
and a crash inside it would forget what the node spent. A line is written before each spend and
another when the true cost is known; on resume a reservation that was never settled counts whole.

What is promised:
- Calls, searches and what is reserved in tokens never exceed the budget. A reservation is an upper
  bound of the cost as far as we can know it; a server that reports more is believed. So tokens
  exceed the budget by no more than such reports of calls under way are above their reservations,
  and nothing is reserved after that.
- Nothing *starts* after the deadline in seconds, and model calls are cut at it.
- Across a crash, time counts while the process lived and not while it was dead. A call that was
  under way counts until its own limit, or until two beats after the last sign of life
  (`budget.heartbeat`), whichever comes first.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from hoptrail.agents.budget.charges import Charges
from hoptrail.agents.budget.heartbeat import HEARTBEAT, LATE, last_sign_of_life
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
_MALFORMED = (KeyError, IndexError, TypeError, ValueError)  # raised by lines of no ledger


class Ledger:
    """The ledger of a run's budget, safe for parallel tasks and threads; see `Ledger.open`."""

    def __init__(
        self,
        budget: Budget,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        path: Path | None = None,
    ) -> None:
        self.budget = budget
        self._clock = clock
        self._wall = wall
        self._path = path
        self._journal: Journal | None = None
        self._start = clock()
        self._charges = Charges()
        self._divisions = 0
        self._mutex = threading.RLock()

    @classmethod
    def open(
        cls,
        path: Path | None,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
        *,
        wall: Callable[[], float] = time.time,
        fresh: bool = False,
        waited: float = 0.0,
    ) -> Ledger:
        """Opens the ledger of a run, new or after a crash.

        Args:
            path: its file; None keeps it in memory.
            budget: the limits; those of a run that goes on must be the ones it began with.
            clock: seconds that only grow. Elapsed time is what is stored, so a resumed process
                with another clock goes on counting where the last line stood.
            wall: seconds since 1970, by which the time of a process's death is told.
            fresh: whether the file is emptied first.
            waited: seconds that the run waited before; they count.

        Raises:
            JournalError: the file is damaged or another process has it open.
            SettingsError: the file was begun with another budget.
            StoreFull: there is no room for its first line.
        """
        ledger = cls(budget, clock, wall, path)
        ledger._start -= waited
        if path is None:
            return ledger
        alive = last_sign_of_life(path)
        journal = Journal(path, fresh=fresh)
        try:
            ledger._begin(journal, alive)
        except BaseException as error:
            journal.close()
            if isinstance(error, SettingsError) or not isinstance(error, _MALFORMED):
                raise
            raise JournalError(f"File {str(path)!r} is not a ledger: delete the run.") from error
        HEARTBEAT.begin(path)
        return ledger

    def _begin(self, journal: Journal, alive: float) -> None:
        """Begins the file, or goes on with what is in it."""
        lines = journal.lines
        _check_header(lines, self.budget)
        for line in lines[1:]:
            self._charges.apply(line)
        self._start -= self._elapsed_before(lines, alive)
        self._journal = journal
        if lines:
            self._write("resume", {})
            self._charges.forfeit_open()
        else:
            self._write("open", {"v": _VERSION, "budget": asdict(self.budget)})

    def _elapsed_before(self, lines: Sequence[Mapping[str, Any]], alive: float) -> float:
        """The run's seconds when the process before this one died."""
        written = max((float(line.get("t", 0.0)) for line in lines), default=0.0)
        died = min(alive + LATE, self._wall())
        return max(written, self._charges.open_until(died))

    def close(self) -> None:
        """Writes the time used so far and closes the file."""
        if self._journal is not None:
            try:
                self._write("tick", {})
            finally:
                assert self._path is not None
                HEARTBEAT.end(self._path)
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
        timeout: float = math.inf,
    ) -> Reservation:
        """Sets aside one HTTP attempt and the most tokens it can cost.

        Args:
            node: the node that spends, for the flags and the file.
            prompt_tokens: upper bound on the tokens of the prompt.
            completion_tokens: the most the reply may have, cut to what is left.
            least: the fewest completion tokens that it may be cut to; None: it may not be cut.
            share: the part of the budget it is taken from; None: all that is left.
            timeout: seconds after which the attempt is given up; cut to what is left.

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
            return self._reserve(
                "call", node, share, prompt_tokens, granted, min(timeout, left.seconds)
            )

    def reserve_search(
        self, *, node: str, share: Share | None = None, timeout: float = math.inf
    ) -> Reservation:
        """Sets aside one search; `timeout` as in `reserve_call`.

        Raises:
            OutOfBudget: no time or search is left; nothing was set aside.
        """
        with self._mutex:
            left = self.left(share)
            if left.seconds <= 0:
                raise OutOfBudget("out_of_time")
            if left.searches < 1:
                raise OutOfBudget("out_of_searches")
            return self._reserve("search", node, share, 0, 0, min(timeout, left.seconds))

    def settle(
        self, reservation: Reservation, reported: ReportedUsage | None, *, replied: bool = True
    ) -> Usage:
        """Replaces a reserved call by its cost, and returns that.

        The cost is the usage reported, above the reservation too; or the reservation, where there
        is no report or it cannot be true (`Reservation.cost`). Both are flagged.

        Args:
            reservation: of this ledger, not settled yet.
            reported: what the server said.
            replied: whether the reply had any text: then it has cost at least a token.
        """
        usage, flag = reservation.cost(reported, replied=replied)
        return self._close(reservation, usage, flag)

    def forfeit(self, reservation: Reservation) -> Usage:
        """Settles a call without an answer that a model may have worked on: it counts whole."""
        return self._close(reservation, reservation.whole(), None)

    def release(self, reservation: Reservation) -> Usage:
        """Settles a call that no model has worked on: it counts as a call without tokens."""
        usage = replace(reservation.whole(), prompt_tokens=0, completion_tokens=0)
        return self._close(reservation, usage, None)

    def settle_search(self, reservation: Reservation) -> Usage:
        """Marks a search as done (it was spent when it was reserved)."""
        return self.forfeit(reservation)

    def spent(self) -> Usage:
        """The usage so far: all that is spent or reserved, and the seconds since the run began."""
        with self._mutex:
            return replace(self._charges.total(), seconds=self.elapsed())

    def left(self, share: Share | None = None) -> Left:
        """The remaining budget, of the branch that holds `share` if one is given."""
        with self._mutex:
            spent = self._charges.total()
            calls = self.budget.calls - spent.calls
            tokens = self.budget.tokens - spent.tokens
            searches = self.budget.searches - spent.searches
            if share is not None:
                used = self._charges.total(share.id)
                calls = min(calls, share.calls - used.calls)
                tokens = min(tokens, share.tokens - used.tokens)
                searches = min(searches, share.searches - used.searches)
        return Left(calls=calls, tokens=tokens, searches=searches, seconds=self.seconds_left())

    def elapsed(self) -> float:
        """Seconds since the run began, those before a crash included."""
        return round(self._clock() - self._start, 6)

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
        """Oddities of reported usage, sorted: the same whichever branch settled first."""
        with self._mutex:
            return self._charges.flags()

    def _reserve(
        self,
        kind: Literal["call", "search"],
        node: str,
        share: Share | None,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
    ) -> Reservation:
        reservation = Reservation(
            id=len(self._charges),
            node=node,
            kind=kind,
            share=None if share is None else share.id,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            seconds=round(seconds, 6),
            began=round(self.elapsed(), 6),
            at=self._wall(),
        )
        # Written first: if the write fails nothing was set aside and the spend does not happen.
        self._write("reserve", asdict(reservation))
        self._charges.add(reservation)
        return reservation

    def _close(self, reservation: Reservation, usage: Usage, flag: str | None) -> Usage:
        with self._mutex:
            self._charges.check_open(reservation)
            self._charges.close(reservation.id, usage, flag)
            line = {
                "id": reservation.id,
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "flag": flag,
            }
            self._write("settle", line)
        return usage

    def _write(self, op: str, line: Mapping[str, object]) -> None:
        with self._mutex:
            if self._journal is not None:
                self._journal.append({"op": op, **line, "t": round(self.elapsed(), 6)})


def _check_header(lines: list[dict[str, Any]], budget: Budget) -> None:
    """Checks that a resumed ledger has the format and the budget that it began with."""
    if not lines:
        return
    if lines[0]["op"] != "open" or lines[0]["v"] != _VERSION:
        raise ValueError("no header")
    if lines[0]["budget"] != asdict(budget):
        raise SettingsError(
            f"The run began with the budget {lines[0]['budget']!r}, not {asdict(budget)!r}: "
            "resume it with the same."
        )
