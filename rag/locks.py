"""The lock of a store's one writer, with a record of who holds it.

The lock itself is the operating system's (fcntl, through `filelock`), so a killed holder frees it.
The owner's record lies in a file of its own beside it and serves the message only.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from hoptrail.rag.errors import StoreBusy


class WriterLock:
    """Excludes other writers: processes through the file, threads through a mutex."""

    def __init__(self, folder: Path, name: str = "writer") -> None:
        self._folder = folder
        self._owner = folder / f"{name}.owner"
        self._file = FileLock(str(folder / f"{name}.lock"), thread_local=False)
        self._mutex = threading.RLock()
        self._depth = 0

    @contextmanager
    def held(self, wait: float) -> Iterator[None]:
        """Holds the lock; may be nested in one thread.

        Args:
            wait: seconds to wait for it; 0 tries once.

        Raises:
            StoreBusy: somebody else held it all that time; names them.
        """
        self.acquire(wait)
        try:
            yield
        finally:
            self.release()

    def acquire(self, wait: float) -> None:
        """Takes the lock, or raises StoreBusy after `wait` seconds."""
        if not self._mutex.acquire(timeout=max(0.0, wait)):
            raise self._busy(wait)
        if self._depth == 0:
            try:
                self._file.acquire(timeout=max(0.0, wait), poll_interval=0.01)
            except BaseException as error:
                self._mutex.release()
                if isinstance(error, Timeout):
                    raise self._busy(wait) from None
                raise
            self._sign()
        self._depth += 1

    def release(self) -> None:
        """Gives it back."""
        self._depth -= 1
        try:
            if self._depth == 0:
                self._file.release()
        finally:
            self._mutex.release()

    def _sign(self) -> None:
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "command": " ".join(sys.argv)[:200] or "python",
        }
        try:
            self._owner.write_text(json.dumps(record))
        except OSError:
            # A full disk must not stop a delete that would free it; only the message suffers.
            self._owner.unlink(missing_ok=True)

    def _busy(self, wait: float) -> StoreBusy:
        try:
            owner = json.loads(self._owner.read_text())
            who = (
                f"process {owner['pid']} on {owner['host']} since {owner['since']} "
                f"({owner['command']})"
            )
        except (OSError, ValueError, KeyError, TypeError):
            who = "another process that left no name"
        return StoreBusy(
            f"The store {str(self._folder)!r} is being written by {who}; waited {wait:g} s. "
            "Wait until it is done, or stop that process."
        )
