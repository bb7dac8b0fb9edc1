"""An append-only file of JSON lines that survives `kill -9`.

A line is handed to the operating system in one write before `append` returns, so it outlives the
process. It is not fsynced: a line is written before every model call and search, and a sync costs
as much as a search. What a power cut can take is therefore the last moments of a run that the same
power cut ended.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from hoptrail.rag.errors import HoptrailError, StoreFull


class JournalError(HoptrailError):
    """A journal file cannot be read, written or locked."""


class Journal:
    """An open journal file, locked against a second one on the same file.

    Args:
        path: its file, created with its folder where missing.
        fresh: whether it is a new file; what is there under its name is removed.

    Raises:
        JournalError: the file is damaged before its last line, in use, or cannot be opened.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock", timeout=0)
        _acquire(self._lock, path)
        try:
            # Never through a link, which somebody else may have laid.
            new = os.O_EXCL if fresh else 0
            if fresh:
                path.unlink(missing_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | new
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            self._lock.release()
            raise JournalError(f"Cannot open {str(path)!r}: {error.strerror}.") from error
        try:
            self.lines = self._read()
        except BaseException:
            self.close()
            raise

    def append(self, line: Mapping[str, Any]) -> None:
        """Adds one line.

        Raises:
            StoreFull: the disk is full; the file ends with the line before.
            JournalError: it cannot be written for another reason.
        """
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            os.ftruncate(self._fd, size)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"No room to write {str(self._path)!r}: free some disk space and resume."
                ) from error
            raise JournalError(f"Cannot write {str(self._path)!r}: {error.strerror}.") from error

    def sync(self) -> None:
        """Has the file outlast a power cut."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Closes the file and lets others open it; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._lock.release()

    def _read(self) -> list[dict[str, Any]]:
        """The complete lines; a torn last line is cut off, so that an append starts a new one."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._fd, whole)
        lines = []
        for number, raw in enumerate(data[:whole].splitlines(), start=1):
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                raise JournalError(
                    f"Line {number} of {str(self._path)!r} is damaged: "
                    "delete the run, or the file of a build, and start again."
                )
            lines.append(line)
        return lines


@contextmanager
def journal_lock(path: Path) -> Iterator[None]:
    """Keeps others from opening a journal.

    Raises:
        JournalError: it is in use, or its folder cannot be written.
    """
    lock = FileLock(f"{path}.lock", timeout=0)
    _acquire(lock, path)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: BaseFileLock, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise JournalError(
            f"The run of {str(path)!r} is still going in another process: wait for it to end."
        ) from None
    except OSError as error:
        raise JournalError(f"Cannot open {str(path)!r}: {error.strerror}.") from error
