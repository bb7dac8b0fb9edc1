"""A process's sign of life: the files of its open ledgers are touched once a second.

When a process is killed, the time of its death is known from its files to a second. A resume counts
the time until then, and not the time that the process was dead.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

BEAT = 1.0
"""Seconds between two signs of life."""
LATE = 2 * BEAT
"""Seconds that a process may have lived after its last sign of life: one beat, and one late."""


class Heartbeat:
    """Touches files once a second, in one thread that ends when there is none left to touch."""

    def __init__(self, beat: float = BEAT) -> None:
        self._beat = beat
        self._paths: set[Path] = set()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, path: Path) -> None:
        """Touches a file from now on."""
        with self._mutex:
            self._paths.add(path)
            if self._thread is None or not self._thread.is_alive():  # a fork has no threads
                self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
                self._thread.start()

    def end(self, path: Path) -> None:
        """Touches a file no more; nothing happens if it was not touched."""
        with self._mutex:
            self._paths.discard(path)

    def _run(self) -> None:
        while True:
            time.sleep(self._beat)
            with self._mutex:
                if not self._paths:
                    self._thread = None
                    return
                for path in self._paths:
                    with suppress(OSError):  # deleted meanwhile, or the disk is at fault
                        now = time.time()
                        os.utime(path, (now, now))


HEARTBEAT = Heartbeat()
"""The one of this process."""


def last_sign_of_life(path: Path) -> float:
    """When a process last wrote or touched a file, in seconds since 1970; 0 if there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
