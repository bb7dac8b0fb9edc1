"""File locks that name their holder: of the writer, and of tree builds.

The lock itself is the operating system's (fcntl, through `filelock`), so a killed holder frees it.
The owner's record is a file of its own beside it, and is used in the message only.
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

from hoptrail.rag.errors import StoreBusy, StoreReadOnly
from hoptrail.rag.store.layout import can_write

_LONGEST_COMMAND = 200


class OwnedLock:
    """A lock of one process (or one object in it) at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._owner = folder / f"{name}.owner"
        self._file = FileLock(str(folder / f"{name}.lock"), thread_local=False)

    def acquire(self, wait: float) -> None:
        """Takes the lock and records this process as its owner.

        Args:
            wait: seconds to wait for it; 0 tries once.

        Raises:
            StoreBusy: another process held it all that time; the message names it.
            StoreReadOnly: the folder cannot be written.
        """
        if not can_write(self._folder):
            raise StoreReadOnly(
                f"The store {str(self._folder)!r} can only be read here: its disk is read-only, or "
                "you have no right to write there. Copy the folder to where you can write, or "
                "change its rights."
            )
        try:
            self._file.acquire(timeout=max(0.0, wait), poll_interval=0.01)
        except Timeout:
            raise self.busy(wait) from None
        self._sign()

    def release(self) -> None:
        """Releases the lock."""
        self._file.release()

    def busy(self, wait: float) -> StoreBusy:
        """The error that names the holder."""
        try:
            owner = json.loads(self._owner.read_text())
            who = (
                f"process {owner['pid']} on {owner['host']} since {owner['since']} "
                f"({owner['command']})"
            )
        except (OSError, ValueError, KeyError, TypeError):
            who = "a process that left no name"
        return StoreBusy(
            f"The store {str(self._folder)!r} is in use by {who}; waited {wait:g} s. "
            "Wait until it is done, or stop that process."
        )

    def _sign(self) -> None:
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
            "command": " ".join(sys.argv)[:_LONGEST_COMMAND] or "python",
        }
        try:
            self._owner.write_text(json.dumps(record))
        except OSError:
            # A full disk must not stop a delete that would free it; only the message suffers.
            self._owner.unlink(missing_ok=True)


class WriterLock:
    """Excludes other writers: processes through an `OwnedLock`, threads through a mutex."""

    def __init__(self, folder: Path) -> None:
        self._lock = OwnedLock(folder, "writer")
        self._mutex = threading.Lock()

    @contextmanager
    def held(self, wait: float) -> Iterator[None]:
        """Holds the lock; not to be nested.

        Raises:
            StoreBusy: another writer held it for `wait` seconds; the message names it.
        """
        if not self._mutex.acquire(timeout=max(0.0, wait)):
            raise self._lock.busy(wait)
        try:
            self._lock.acquire(wait)
            try:
                yield
            finally:
                self._lock.release()
        finally:
            self._mutex.release()
