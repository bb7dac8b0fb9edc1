"""What the command line prints: results on stdout, everything else on stderr.

Text from documents is data here as well: control characters in it, such as a terminal's escape
sequences, are shown and not obeyed.
"""

from __future__ import annotations

import codecs
import json
import logging
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import typer

_WIDTH = 96

_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
}


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


def shown(text: str) -> str:
    """The text without characters that would steer a terminal."""
    return text.translate(_CONTROLS)


def indented(text: str, by: str = "    ", *, hanging: str | None = None) -> str:
    """The text on lines of at most 96 characters, each begun by `by`, all but one by `hanging`."""
    joined = " ".join(text.split())
    hanging = by if hanging is None else hanging
    return textwrap.fill(joined, _WIDTH, initial_indent=by, subsequent_indent=hanging)


def shortened(text: str, most: int) -> str:
    """At most `most` characters of a text on one line."""
    joined = " ".join(text.split())
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 passage`, `2 passages`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def lasting(seconds: float) -> str:
    """About how long: `20 s`, `5 min`, `3 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1, seconds):.0f} s"
