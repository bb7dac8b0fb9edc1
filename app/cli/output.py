"""Output of the command line: results on stdout, everything else on stderr; exit codes.

What is printed is untrusted: each argument of `say` and `note` becomes exactly one line.
"""

from __future__ import annotations

import codecs
import errno
import io
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TextIO

import typer

from hoptrail.app.text import json_text, one_line
from hoptrail.rag.errors import HoptrailError

_OF_STREAMS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF}
"""Errors of a write to a stream. (Those of a file have its name.)"""


class OutputLost(HoptrailError):
    """Standard output takes no more: its reader went away, or its device is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"The output cannot be written: {error.strerror}.")
        self.reader_left = error.errno == errno.EPIPE


def prepare_streams() -> None:
    """Lets the streams escape what their encoding lacks, such as a dash on a latin-1 terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(*lines: str) -> None:
    """Prints lines of the result on stdout; without an argument a blank one.

    Raises:
        OutputLost: stdout takes no more.
    """
    _print("\n".join(map(one_line, lines)))


def note(text: str) -> None:
    """Prints a line on stderr: progress, warnings, summaries. One that is lost stops nothing."""
    try:
        typer.echo(one_line(text), err=True)
    except OSError:
        _silence(sys.stderr)


def emit(record: Mapping[str, Any]) -> None:
    """Prints a record on stdout as one line of JSON.

    Raises:
        OutputLost: stdout takes no more.
    """
    # ASCII escapes if the terminal's encoding is not UTF-8: they lose nothing.
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    _print(json_text(record, ascii_only=codecs.lookup(encoding).name != "utf-8"))


def lost_output(error: Exception) -> OutputLost | None:
    """The error as one of stdout, also where typer printed a text itself, such as help."""
    if isinstance(error, OutputLost):
        return error
    if isinstance(error, OSError) and error.filename is None and error.errno in _OF_STREAMS:
        _silence(sys.stdout)
        return OutputLost(error)
    return None


def report_lost(lost: OutputLost) -> int:
    """Says what is wrong with stdout, unless its reader just went away; returns the exit code."""
    if lost.reader_left:
        return READER_LEFT
    note(f"error: {lost}")
    return FAILED


def _print(text: str) -> None:
    try:
        if sys.stdout is None:  # closed before Python began
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        typer.echo(text)
    except OSError as error:
        _silence(sys.stdout)
        raise OutputLost(error) from error


def _silence(stream: TextIO) -> None:
    """Leads a stream to nowhere: what it still holds must not fail again when Python ends."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Notes(logging.Handler):
    """Logging handler that prints warnings on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record of level WARNING or above."""
        if record.levelno >= logging.WARNING:
            note(f"{record.levelname.lower()}: {record.getMessage()}")


FAILED = 1
"""Exit code of a failure: stderr says why and what to do."""

MISUSED = 2
"""Exit code of wrong usage or settings."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

READER_LEFT = 141
"""Exit code where the reader of stdout went away, as shells give a process that SIGPIPE ended."""
