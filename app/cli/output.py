"""What the command line prints: results on stdout, everything else on stderr.

Text from documents is data here as well: control characters in it, such as a terminal's escape
sequences, are shown and not obeyed.
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
    """A line of the result."""
    typer.echo(shown(text))


def note(text: str) -> None:
    """A line beside the result: progress, warnings, summaries."""
    typer.echo(shown(text), err=True)


def emit(record: Mapping[str, Any]) -> None:
    """A record as one line of JSON, written at once."""
    # ASCII where the terminal's encoding could not take the rest: JSON's own escapes lose nothing.
    utf8 = codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    try:
        typer.echo(json.dumps(record, ensure_ascii=not utf8, default=str))
    except UnicodeEncodeError:  # a file name whose bytes are no UTF-8
        typer.echo(json.dumps(record, default=str))


class Notes(logging.Handler):
    """Prints the library's warnings among the notes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one."""
        if record.levelno >= logging.WARNING:
            note(f"{record.levelname.lower()}: {record.getMessage()}")


FAILED = 1
"""It failed: stderr says why and what to do."""

MISUSED = 2
"""Wrong usage or settings."""

INTERRUPTED = 130
"""Ctrl-C."""
