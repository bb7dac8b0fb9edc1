"""Ctrl-C handling of asynchronous commands: once ends them gracefully, twice cancels."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from hoptrail.app.cli.output import note

T = TypeVar("T")


async def interruptible(run: Callable[[asyncio.Event], Coroutine[Any, Any, T]], notice: str) -> T:
    """Awaits a run; the first Ctrl-C sets its event and prints `notice`, the second cancels it.

    Raises:
        asyncio.CancelledError: after the second Ctrl-C.
    """
    cancel = asyncio.Event()
    task = asyncio.ensure_future(run(cancel))

    def on_interrupt() -> None:
        if cancel.is_set():
            task.cancel()
        else:
            cancel.set()
            note(notice)

    loop = asyncio.get_running_loop()
    # Elsewhere (another thread, Windows) Ctrl-C stops at once.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, on_interrupt)
    return await task
