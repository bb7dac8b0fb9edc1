"""Asynchronous functions for synchronous callers: a decorator that keeps the signature."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def synchronous(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The function for callers that cannot await: it returns when the coroutine has ended.

    Where an event loop is running already it runs in a loop of its own, on a thread of its own.
    """

    @wraps(function)
    def run(*values: P.args, **options: P.kwargs) -> T:
        return run_sync(function(*values, **options))

    run.__name__ = function.__name__.removeprefix("a")
    run.__qualname__ = function.__qualname__.replace(function.__name__, run.__name__)
    return run


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end from synchronous code, in a loop or out of one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        return _in_a_thread(coroutine)
    return asyncio.run(coroutine)


def _in_a_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs it in a loop of its own beside the caller's; Ctrl-C here cancels it there."""
    with ThreadPoolExecutor(1, thread_name_prefix="hoptrail-sync") as thread:
        loop = thread.submit(asyncio.new_event_loop).result()
        task = thread.submit(loop.create_task, coroutine).result()
        try:
            return thread.submit(loop.run_until_complete, task).result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            thread.submit(loop.close)
