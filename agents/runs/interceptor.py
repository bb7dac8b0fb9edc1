"""The interceptor of a run: every call to store, embedder or model server passes it.

Three implementations: a live one lets a call through, cuts it when the run is cancelled, and moves
the run's clock on; `recording.Recorder` also writes down what came back; `recording.Replayer`
answers from what was written. Between two calls the run's clock stands still: time spent in our
own code is neither recorded nor missed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

current_node: ContextVar[str] = ContextVar("current_node", default="start")
"""The node that runs now; what a recording files its calls under."""


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
    """A read of a stored document: it goes through after a cancellation too, since the best answer
    so far is checked against its sources before it is given."""


class Interceptor(Protocol):
    """Gives the result of each external call: live, recorded or replayed."""

    def seconds(self) -> float:
        """The run's clock: seconds at the last call that came back."""

    async def call(self, call: ExternalCall[T]) -> T:
        """The call's result.

        Raises:
            Cancelled: the caller wants the run to stop.
            TimeoutError, AttemptFailed, HoptrailError: what the call itself raised.
        """


class LiveInterceptor:
    """Makes the calls, and cuts them when the run is cancelled.

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
        self._seconds = 0.0

    def seconds(self) -> float:
        """The run's clock."""
        return self._seconds

    def advance(self) -> float:
        """Moves the run's clock to the present."""
        self._seconds = max(self._seconds, round(self._now() - self._begin, 6))
        return self._seconds

    async def call(self, call: ExternalCall[T]) -> T:
        """The result of the live call; cut short when the run is cancelled."""
        self.advance()
        try:
            return await (call.live() if call.after_cancel else self._unless_cancelled(call.live))
        finally:
            self.advance()

    async def _unless_cancelled(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._cancel.is_set():
            raise Cancelled
        task = asyncio.ensure_future(work())
        wish = asyncio.ensure_future(self._cancel.wait())
        try:
            await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Cancelled
            return task.result()
        finally:
            wish.cancel()
            if not task.done():
                task.cancel()
                # Waited for, so that a cancelled HTTP request has closed its connection.
                await asyncio.gather(task, return_exceptions=True)
