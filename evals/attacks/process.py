"""The command line as attacks run it: a process of its own, within bounds of time and memory.

Time is that of the processor, so that a busy machine makes no verdict.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

_COMMAND = (sys.executable, "-P", "-m", "hoptrail.app.cli.main")
_POLL_SECONDS = 0.05
_WALL = 5
_BYTES_OF_MAXRSS = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bounds of a command: seconds of the processor, bytes of memory."""

    seconds: float = 30.0
    """It is killed when it has taken them, or five times as many on the wall clock."""
    memory_bytes: int = 1_500_000_000
    """It is killed at twice as many, on Linux."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What a command printed, how it ended and what it took."""

    code: int | None
    """Exit code, negative for a signal; None: it was killed for its time on the wall clock."""
    stdout: bytes
    stderr: bytes
    seconds: float
    """Of the processor, its children included."""
    memory_bytes: int
    """Peak of resident memory, of it or of a child, whichever was larger."""

    @property
    def text(self) -> str:
        """What it printed on stdout; bytes that are no UTF-8 as U+FFFD."""
        return self.stdout.decode("utf-8", "replace")

    def problem(self, bounds: Bounds, codes: tuple[int, ...] = (0,)) -> str:
        """Why the command did not end as it should within its bounds; empty: it did."""
        if self.code in (None, -signal.SIGXCPU, -signal.SIGKILL):
            return f"unfinished after {bounds.seconds:g} s of the processor, or out of memory"
        if self.seconds > bounds.seconds:
            return f"took {self.seconds:.0f} s of the processor"
        if b"Traceback (most recent call last)" in self.stderr:
            return f"ended with a traceback: {_last_line(self.stderr)!r}"
        if self.code not in codes:
            return f"ended with exit code {self.code}: {_last_line(self.stderr)!r}"
        if self.memory_bytes > bounds.memory_bytes:
            return f"took {self.memory_bytes / 1e6:,.0f} MB of memory"
        return ""


def run_command(*arguments: object, bounds: Bounds | None = None) -> CommandResult:
    """Runs `hoptrail` with these arguments, no settings of the user's, and no terminal.

    It is killed beyond its bounds, and when this call is interrupted.
    """
    bounds = bounds or Bounds()
    env = {key: value for key, value in os.environ.items() if key != "HOPTRAIL_SETTINGS"}
    began = time.monotonic()
    with TemporaryFile() as out, TemporaryFile() as err:
        child = subprocess.Popen(
            [*_COMMAND, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**env, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"},
            start_new_session=True,
        )
        try:
            _limit(child.pid, bounds)
            code, used = _wait(child, began + _WALL * bounds.seconds)
        finally:
            _kill(child)
        out.seek(0)
        err.seek(0)
        return CommandResult(
            code=code,
            stdout=out.read(),
            stderr=err.read(),
            seconds=used.ru_utime + used.ru_stime,
            memory_bytes=used.ru_maxrss * _BYTES_OF_MAXRSS,
        )


def ingest_command(path: Path, store: Path, bounds: Bounds | None = None) -> CommandResult:
    """Runs `hoptrail ingest` into a store with the hashing embedder, 20 s for parsing a file."""
    options = ("--store", store, "--embedder", "hash", "--parse-seconds", 20, "--json")
    return run_command("ingest", path, *options, bounds=bounds)


def _limit(pid: int, bounds: Bounds) -> None:
    """Limits of the kernel: a bomb must not take the machine of the one who tries it."""
    if hasattr(resource, "prlimit"):
        memory, seconds = 2 * bounds.memory_bytes, math.ceil(bounds.seconds)
        resource.prlimit(pid, resource.RLIMIT_DATA, (memory, memory))
        resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds + 5))


def _wait(
    child: subprocess.Popen[bytes], deadline: float
) -> tuple[int | None, resource.struct_rusage]:
    """Exit code (None: out of time) and what it has used."""
    while True:
        # wait4, not poll: it alone says how much memory this one child has taken.
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage
        if time.monotonic() > deadline:
            return None, usage
        time.sleep(_POLL_SECONDS)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kills the command; what it started ends when its pipes to it close."""
    if child.returncode is None:
        child.kill()
        child.wait()


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
