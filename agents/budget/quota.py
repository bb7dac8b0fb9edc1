"""Quotas over many runs: tokens and calls a minute, and questions in flight.

A run's ledger says what one question may spend; a quota says what all questions of a tenant may
spend together, in one process. Who must wait is served first come, first served.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from hoptrail.agents.budget.admission import FairSemaphore
from hoptrail.rag.errors import SettingsError

MINUTE = 60.0
_LONGEST_WAIT = 3_600.0
"""Seconds after which one who waits looks again, whatever the limits say."""


@dataclass(slots=True, eq=False)
class Draw:
    """A call that was let through: when, and the tokens that it is counted with."""

    at: float
    tokens: int


class Window:
    """The draws of the last minute, and when there is room for another. Not thread-safe.

    Args:
        calls: the most draws of any minute; None: no limit.
        tokens: the most tokens of any minute; None: no limit.
    """

    def __init__(self, calls: int | None, tokens: int | None) -> None:
        self._most_calls = math.inf if calls is None else calls
        self._most_tokens = math.inf if tokens is None else tokens
        self._draws: deque[Draw] = deque()
        self._tokens = 0

    def delay(self, tokens: int, now: float) -> float:
        """Seconds until a call may be made.

        One with more tokens than the limit may be made when the minute before it was empty.
        """
        while self._draws and self._draws[0].at + MINUTE <= now:
            self._tokens -= self._draws.popleft().tokens
        calls = len(self._draws) + 1 - self._most_calls
        above = self._tokens + min(tokens, self._most_tokens) - self._most_tokens
        delay = 0.0
        for draw in self._draws:  # oldest first: until enough of them are a minute ago
            if calls <= 0 and above <= 0:
                break
            calls, above = calls - 1, above - draw.tokens
            delay = draw.at + MINUTE - now
        return delay

    def draw(self, tokens: int, now: float) -> Draw:
        """Counts a call with the most tokens that it can cost."""
        made = Draw(at=now, tokens=tokens)
        self._draws.append(made)
        self._tokens += tokens
        return made

    def settle(self, draw: Draw, tokens: int) -> None:
        """Replaces the tokens of a draw by those that it did cost."""
        if draw in self._draws:
            self._tokens += tokens - draw.tokens
        draw.tokens = tokens


@dataclass(slots=True, eq=False)
class _Waiter:
    """One who waits, in an event loop of its own."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event

    def wake(self) -> None:
        with suppress(RuntimeError):  # its loop is closed: it waits no more
            self.loop.call_soon_threadsafe(self.event.set)


class Quota:
    """The limits that many runs share, within one process: one object for each tenant.

    It may be used from several threads and event loops. A call is counted with the most tokens that
    it can cost until its true cost is known.

    Args:
        tokens_per_minute: the most prompt and completion tokens of any 60 seconds; None: no limit.
        calls_per_minute: the most calls to the model of any 60 seconds; None: no limit.
        questions: the most questions in flight at one time; None: no limit.
        clock: seconds that only grow, by which a minute is told.

    Raises:
        SettingsError: a limit is no whole number of at least 1.
    """

    def __init__(
        self,
        *,
        tokens_per_minute: int | None = None,
        calls_per_minute: int | None = None,
        questions: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = {
            "tokens_per_minute": tokens_per_minute,
            "calls_per_minute": calls_per_minute,
            "questions": questions,
        }
        for name, value in limits.items():
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and (not whole or value < 1):
                raise SettingsError(
                    f"The quota of {name} is {value!r}: give a whole number of at least 1, or None."
                )
        self._window = Window(calls_per_minute, tokens_per_minute)
        self._places = None if questions is None else FairSemaphore(questions)
        self._clock = clock
        self._mutex = threading.Lock()
        self._line: deque[_Waiter] = deque()
        """Who waits for a call, first come first."""

    async def draw(self, tokens: int, *, timeout: float) -> Draw | None:
        """Waits until a call may be made, and counts it.

        Args:
            tokens: the most that it can cost, prompt and completion.
            timeout: seconds to wait at most.

        Returns:
            What `settle` needs; None: there was no room within `timeout`.
        """
        loop = asyncio.get_running_loop()
        waiter, deadline = _Waiter(loop, asyncio.Event()), loop.time() + timeout
        with self._mutex:
            self._line.append(waiter)
        try:
            while True:
                waiter.event.clear()
                with self._mutex:
                    first, now = self._line[0] is waiter, self._clock()
                    delay = self._window.delay(tokens, now) if first else math.inf
                    if delay <= 0:
                        return self._window.draw(tokens, now)
                left = deadline - loop.time()
                if left <= 0:
                    return None
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(delay, left, _LONGEST_WAIT)):
                        await waiter.event.wait()
        finally:
            with self._mutex:
                self._line.remove(waiter)
                self._wake_first()

    def settle(self, draw: Draw, tokens: int) -> None:
        """Replaces the tokens of a call by those that it did cost."""
        with self._mutex:
            self._window.settle(draw, tokens)
            self._wake_first()

    @asynccontextmanager
    async def question(self, *, timeout: float) -> AsyncIterator[bool]:
        """A place among the questions in flight, given back at the end.

        Args:
            timeout: seconds to wait for it at most.

        Returns:
            Whether there is a place; False: none was free within `timeout`.
        """
        placed = True
        if self._places is not None:
            try:
                await self._places.acquire(timeout, lambda _ahead: None)
            except TimeoutError:
                placed = False
        try:
            yield placed
        finally:
            if placed and self._places is not None:
                self._places.release()

    def _wake_first(self) -> None:
        """Has the first who waits for a call look again; the lock must be held."""
        if self._line:
            self._line[0].wake()
