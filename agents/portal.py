"""Where synchronous callers meet the asynchronous library: one coroutine, run to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def portal(coroutine: Coroutine[Any, Any, T]) -> T:
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
    with ThreadPoolExecutor(1, thread_name_prefix="hoptrail-portal") as thread:
        loop = thread.submit(asyncio.new_event_loop).result()
        task = thread.submit(loop.create_task, coroutine).result()
        try:
            return thread.submit(loop.run_until_complete, task).result()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(task.cancel)
            raise
        finally:
            thread.submit(loop.close)
