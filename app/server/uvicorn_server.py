"""The server's process: uvicorn, which on a signal ends the questions in flight before it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from hoptrail.app.server.server_settings import ServerSettings
from hoptrail.app.server.shared.gate import Gate
from hoptrail.app.text import plural

_LAST_SECONDS = 5.0
"""Seconds before the end of a drain when questions are told to end with what they have."""
_KEEP_ALIVE = 30
_HEADER_BYTES = 65_536


def run_server(app: FastAPI, settings: ServerSettings, tell: Callable[[str], None]) -> None:
    """Serves until Ctrl-C or SIGTERM.

    Args:
        app: what `build_app` made.
        settings: where it listens, and how long questions in flight have to end.
        tell: gets what is to be told to whoever runs the server.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
        timeout_keep_alive=_KEEP_ALIVE,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
    DrainingServer(config, app.state.gate, settings.drain_seconds, tell).run()


class DrainingServer(uvicorn.Server):
    """A server that takes no question after the first signal, and leaves at once at the second."""

    def __init__(
        self, config: uvicorn.Config, gate: Gate, seconds: float, tell: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._gate, self._seconds, self._tell = gate, seconds, tell

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handles Ctrl-C and SIGTERM."""
        if self._gate.draining:
            self.force_exit = True
            return
        self._gate.draining = self.should_exit = True
        if len(self._gate):
            questions = plural(len(self._gate), "question")
            self._tell(f"ending: {questions} in flight; again to leave them")
        loop = asyncio.get_running_loop()
        left = max(0.0, self._seconds - _LAST_SECONDS)
        loop.call_soon_threadsafe(loop.call_later, left, self._gate.cancel_all)
