"""Text helpers for terminal and HTML output: control characters, width, plurals, durations."""

from __future__ import annotations

import textwrap

_WIDTH = 96

_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if chr(code) not in "\n\t"
}


def shown(text: str) -> str:
    """Replaces control characters, such as those of a terminal's escape sequences."""
    return text.translate(_CONTROLS)


def indented(text: str, by: str = "    ", *, hanging: str | None = None) -> str:
    """Wraps a text to 96 characters; `by` begins the first line, `hanging` or `by` the others."""
    joined = " ".join(text.split())
    hanging = by if hanging is None else hanging
    return textwrap.fill(joined, _WIDTH, initial_indent=by, subsequent_indent=hanging)


def shortened(text: str, most: int) -> str:
    """Shortens a text to `most` characters on one line."""
    joined = " ".join(text.split())
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Number with its noun: `1 passage`, `2 passages`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """Rounded duration: `20 s`, `5 min`, `3 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1, seconds):.0f} s"
