"""The interceptor of a run: every call to store, embedder or model server passes it.

Three implementations: a live one lets a call through, cuts it at the run's deadline or when the run
is cancelled, and moves the clock of its branch on; `recording.Recorder` also writes down what came
back; `recording.Replayer` answers from what was written. Between two calls the clock stands still:
time spent in our own code is neither recorded nor missed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from hoptrail.agents.budget.branches import current_branch

T = TypeVar("T")

REPLY = "review.reply"
"""The kind of call by which a paused run gets the reply that it was waiting for."""


class Cancelled(Exception):
    """The run was cancelled by its caller: no further call is let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalCall(Generic[T]):
    """One call to store, embedder or model server, and its form as JSON."""

    kind: str
    """`corpus.search`, `endpoint.attempt`, ...: protocol and method."""
    arguments: Callable[[], Any]
    """What it is called with, as JSON; only asked for when someone writes or looks it up."""
    live: Callable[[], Awaitable[T]]
    encode: Callable[[T], Any]
    """Its result as JSON."""
    decode: Callable[[Any], T]
    after_cancel: bool = False
    """A read of a stored document: it goes through after the deadline and after a cancellation too,
    since the best answer so far is checked against its sources before it is given."""


class Interceptor(Protocol):
    """Gives the result of each external call: live, recorded or replayed."""

    def begin(self, *, spent: float, deadline: float) -> None:
        """Sets the run's clock to what it took before a pause or crash, and when it is over."""

    def seconds(self) -> float:
        """The clock of the current branch: seconds of the run at the last call that came back."""

    async def call(self, call: ExternalCall[T]) -> T:
        """The call's result.

        Raises:
            Cancelled: the caller wants the run to stop.
            TimeoutError, AttemptFailed, HoptrailError: what the call itself raised.
        """


class LiveInterceptor:
    """Makes the calls, and cuts them at the deadline and when the run is cancelled.

    Args:
        cancel: set it to end the run with its best answer so far.
        now: seconds that only grow.
    """

    def __init__(
        self, cancel: asyncio.Event | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._cancel = cancel if cancel is not None else asyncio.Event()
        self._now = now
        self._begin = now()
        self._deadline = math.inf

    def begin(self, *, spent: float, deadline: float) -> None:
        """Sets the run's clock to the seconds that it took before a pause or crash.

        Args:
            spent: seconds before this process; 0 for a new run.
            deadline: seconds of the run at which calls are cut.
        """
        self._begin -= spent
        self._deadline = deadline
        current_branch().advance(spent)

    def seconds(self) -> float:
        """The clock of the current branch."""
        return current_branch().seconds

    def advance(self) -> float:
        """Moves the clock of the current branch to the present."""
        branch = current_branch()
        branch.advance(round(self._now() - self._begin, 6))
        return branch.seconds

    async def call(self, call: ExternalCall[T]) -> T:
        """The result of the live call; cut short at the deadline or when the run is cancelled."""
        self.advance()
        try:
            return await (call.live() if call.after_cancel else self._in_time(call.live))
        finally:
            self.advance()

    async def _in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._cancel.is_set():
            raise Cancelled
        left = self._deadline - self.seconds()
        if left <= 0:
            raise TimeoutError("the run's time was over")
        task = asyncio.ensure_future(work())
        wish = asyncio.ensure_future(self._cancel.wait())
        try:
            await asyncio.wait(
                {task, wish},
                timeout=None if math.isinf(left) else left,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                return task.result()
            if wish.done():
                raise Cancelled
            raise TimeoutError("the run's time was over")
        finally:
            wish.cancel()
            if not task.done():
                task.cancel()
                # Waited for, so that a cancelled HTTP request has closed its connection.
                await asyncio.gather(task, return_exceptions=True)
