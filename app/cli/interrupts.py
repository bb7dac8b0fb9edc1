"""Ctrl-C while something asynchronous runs: once asks it to end well, twice stops it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from hoptrail.app.cli.output import note

T = TypeVar("T")


async def interruptible(run: Callable[[asyncio.Event], Coroutine[Any, Any, T]], told: str) -> T:
    """Runs to the end; the first Ctrl-C sets the event and prints `told`, the second cancels.

    Raises:
        asyncio.CancelledError: after the second.
    """
    cancel = asyncio.Event()
    task = asyncio.ensure_future(run(cancel))

    def interrupted() -> None:
        if cancel.is_set():
            task.cancel()
        else:
            cancel.set()
            note(told)

    loop = asyncio.get_running_loop()
    # Elsewhere (another thread, Windows) Ctrl-C stops at once.
    with suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGINT, interrupted)
    return await task
