"""Output of the command line: results on stdout, everything else on stderr; exit codes.

Control characters in text from documents, such as a terminal's escape sequences, are replaced.
"""

from __future__ import annotations

import codecs
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any

import typer

from hoptrail.app.text import shown


def say(text: str = "") -> None:
    """Prints a line of the result on stdout."""
    typer.echo(shown(text))


def note(text: str) -> None:
    """Prints a line on stderr: progress, warnings, summaries."""
    typer.echo(shown(text), err=True)


def emit(record: Mapping[str, Any]) -> None:
    """Prints a record on stdout as one line of JSON."""
    # ASCII escapes if the terminal's encoding is not UTF-8: they lose nothing.
    utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    try:
        typer.echo(json.dumps(record, ensure_ascii=not utf8, default=str))
    except UnicodeEncodeError:  # a file name whose bytes are no UTF-8
        typer.echo(json.dumps(record, default=str))


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
