"""A pool of threads whose calls have deadlines; a call that hangs keeps its thread for itself only.

A thread cannot be stopped. A call whose deadline passed is therefore given up: code that works in
batches asks `given_up` between two of them and ends. Until it has ended, and also while a call just
takes long, another thread works in its place, up to a limit, beyond which calls fail at once.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PATIENCE = 2.0
"""Seconds after which a call that is still running gets another thread put in its place."""
MOST_REPLACED = 32
"""Threads that are inside such a call, at most; while there are as many, new calls fail."""

EXIT_SECONDS = 5.0
"""Seconds that the end of the process waits for calls that are inside."""

_current = threading.local()
_ending = threading.Event()
_pools: weakref.WeakSet[Threads] = weakref.WeakSet()
_alive: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def given_up() -> bool:
    """Whether the call that this thread makes is waited for no longer, or the process ends."""
    call: _Call[Any] | None = getattr(_current, "call", None)
    return _ending.is_set() or (call is not None and call.given_up)


def start_thread(work: Callable[[], None], name: str) -> None:
    """Starts a thread that does not keep the process from ending when it hangs."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    _alive.add(thread)
    thread.start()


@atexit.register
def _end_all() -> None:
    """Gives every call up and waits a while: native code that the end overtakes would abort."""
    _ending.set()
    for pool in list(_pools):
        pool.close()
    deadline = time.monotonic() + EXIT_SECONDS
    for thread in list(_alive):
        thread.join(max(0.0, deadline - time.monotonic()))


class _Call(Generic[T]):
    """A call on its way through the pool."""

    __slots__ = ("began", "future", "given_up", "replaced", "work")

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()
        self.given_up = False
        self.began: float | None = None
        self.replaced = False


class Threads:
    """A pool of threads for calls with deadlines; safe to share by threads and event loops.

    Args:
        name: beginning of the threads' names.
        count: threads that take calls.
        hung: makes the error of a call that is refused because too many hang, from their number.
    """

    def __init__(self, name: str, count: int, *, hung: Callable[[int], Exception]) -> None:
        self._name = name
        self._count = count
        self._hung = hung
        self._queue: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._mutex = threading.Lock()
        self._inside: set[_Call[Any]] = set()
        self._started = 0
        self._replaced = 0
        self._closed = False
        _pools.add(self)

    async def run(self, work: Callable[[], T], timeout: float) -> T:
        """The result of a call in one of the threads.

        Raises:
            TimeoutError: it did not end within `timeout` seconds, the wait for a thread included.
            Exception: the call's own error, or that of `hung`.
        """
        if self._replaced >= MOST_REPLACED:
            raise self._hung(self._replaced)
        call = _Call(work)
        self._start_all()
        self._queue.put(call)
        result = asyncio.wrap_future(call.future)
        deadline = time.monotonic() + timeout
        try:
            while (left := deadline - time.monotonic()) > 0:
                await asyncio.wait({result}, timeout=min(left, PATIENCE))
                if result.done():
                    return result.result()
                self._replace_if_slow(call)
            raise TimeoutError(f"No result within {timeout:.3g} s.")
        finally:
            if not result.done():
                call.given_up = True
                result.cancel()
                self._replace(call)

    def close(self) -> bool:
        """Ends the threads and says whether none of them is still inside a call.

        Calls that wait are cancelled, those inside are given up and not waited for.
        """
        with self._mutex:
            self._closed = True
            inside = list(self._inside)
            threads = self._started
        for call in inside:
            call.given_up = True
        with suppress(Empty):
            while True:
                waiting = self._queue.get_nowait()
                if waiting is not None:
                    waiting.future.cancel()
        for _ in range(threads):
            self._queue.put(None)
        return not inside

    def _start_all(self) -> None:
        with self._mutex:
            if self._closed:
                raise RuntimeError("The threads are closed.")
            while self._started < self._count:
                self._start()

    def _start(self) -> None:
        self._started += 1
        start_thread(self._take_calls, self._name)

    def _replace_if_slow(self, call: _Call[Any]) -> None:
        if call.began is not None and time.monotonic() - call.began >= PATIENCE:
            self._replace(call)

    def _replace(self, call: _Call[Any]) -> None:
        """Puts another thread in the place of the one that is inside a call, if one is."""
        with self._mutex:
            needless = call not in self._inside or call.replaced or self._closed
            if needless or self._replaced >= MOST_REPLACED:
                return
            call.replaced = True
            self._replaced += 1
            self._started -= 1
            self._start()

    def _take_calls(self) -> None:
        while (call := self._queue.get()) is not None:
            if self._begin(call):
                self._make(call)
                if call.replaced:
                    return  # another thread has taken the place of this one
            del call  # or its result would live as long as the thread is idle

    def _begin(self, call: _Call[Any]) -> bool:
        if not call.future.set_running_or_notify_cancel():
            return False
        with self._mutex:
            self._inside.add(call)
        call.began = time.monotonic()
        return True

    def _make(self, call: _Call[T]) -> None:
        _current.call = call
        try:
            result = call.work()
        except BaseException as error:
            self._settle(call)
            call.future.set_exception(error)
        else:
            self._settle(call)
            call.future.set_result(result)
        finally:
            _current.call = None

    def _settle(self, call: _Call[Any]) -> None:
        """Before the caller hears of it: who closes the pool then finds nobody inside."""
        with self._mutex:
            self._inside.discard(call)
            if call.replaced:
                self._replaced -= 1
