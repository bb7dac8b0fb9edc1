"""Admission: how many runs go on at once, first come, first served, whatever loop they run in.

A run that waits spends its own seconds. If they are over before its turn it never begins, and its
receipt says `out_of_time`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from hoptrail.rag.errors import SettingsError

LOCAL_RUNS = max(2, os.cpu_count() or 1)
"""Runs without a served model that go on at once: they embed, so a core each is what they need."""
SERVED_RUNS = 64
"""Runs with a served model that go on at once: they wait for it most of the time."""


class FairSemaphore:
    """A semaphore that grants its places in the order of the requests.

    Safe to share by threads and event loops.
    """

    def __init__(self, places: int) -> None:
        if places < 1:
            raise SettingsError(f"At least 1 run must go on at once, not {places!r}.")
        self._free = places
        self._turns: deque[Future[None]] = deque()
        self._mutex = threading.Lock()

    async def acquire(self, timeout: float, on_wait: Callable[[int], None]) -> bool:
        """Takes a place; whether it had to be waited for.

        Args:
            timeout: seconds.
            on_wait: called, before a wait, with the number of requests that come first.

        Raises:
            TimeoutError: none became free within `timeout` seconds.
        """
        turn: Future[None] = Future()
        with self._mutex:
            if self._free:
                self._free -= 1
                return False
            ahead = len(self._turns)
            self._turns.append(turn)
        try:
            on_wait(ahead)
            await asyncio.wait_for(asyncio.wrap_future(turn), timeout)
        except BaseException:
            self._withdraw(turn)
            raise
        return True

    def release(self) -> None:
        """Gives a place back: to the next in turn, if there is one."""
        with self._mutex:
            while self._turns:
                turn = self._turns.popleft()
                if turn.set_running_or_notify_cancel():
                    turn.set_result(None)
                    return
            self._free += 1

    def _withdraw(self, turn: Future[None]) -> None:
        """Ends a request; the place is passed on if it was granted at this moment."""
        if not turn.cancel():
            self.release()
            return
        with self._mutex:
            if turn in self._turns:
                self._turns.remove(turn)


class Admission:
    """The places of runs with and without a served model; share one to share its limits.

    Args:
        local: runs without a served model that go on at once, at least 1.
        served: runs with one.
    """

    def __init__(self, *, local: int = LOCAL_RUNS, served: int = SERVED_RUNS) -> None:
        self._local = FairSemaphore(local)
        self._served = FairSemaphore(served)

    def places(self, *, served: bool) -> FairSemaphore:
        """The semaphore of one of the two."""
        return self._served if served else self._local


OF_PROCESS = Admission()
"""Shared by every store of the process that is not given its own."""
