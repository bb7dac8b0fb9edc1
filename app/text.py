"""Text helpers for output: untrusted text on one line, width, plurals, durations.

Titles, file names, ids, quotes and what a model writes are untrusted: `one_line` is their door to
the terminal, `shown` to a page, `json_text` to JSON output.
"""

from __future__ import annotations

import json
import re
import textwrap

_WIDTH = 96
_HEADING = 72

_BREAKS = "\n\r\t\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_MARKS = (0x061C, 0x200E, 0x200F, *range(0xE0000, 0xE0080))
"""Marks of direction, and tags: without them a text reads the same."""
_CONTROLS = {
    **dict.fromkeys(
        (*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x2070),
         *range(0xFFF9, 0xFFFC)),
        "\N{REPLACEMENT CHARACTER}",
    ),
    **dict.fromkeys(_MARKS),
}  # fmt: skip
"""Terminal escapes, and characters that reorder the text around them."""
_SHOWN = {code: to for code, to in _CONTROLS.items() if chr(code) not in "\n\t"}
_ONE_LINE = {**_CONTROLS, **dict.fromkeys(map(ord, _BREAKS), " ")}
_ESCAPED = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_CITATION = re.compile(r"\[(\d[\d, ]*)\]")


def one_line(text: str) -> str:
    """The text on one line, without terminal escapes and controls of direction."""
    return text.translate(_ONE_LINE)


def shown(text: str) -> str:
    """The text with its lines, without terminal escapes and controls of direction."""
    return text.translate(_SHOWN)


def json_text(value: object, *, ascii_only: bool = False) -> str:
    """The value as JSON on one line; controls in its texts are escaped, so it stays exact."""
    text = json.dumps(value, ensure_ascii=ascii_only, default=str)
    return escaped(text)


def escaped(json_text: str) -> str:
    """JSON text with the controls in its strings written as escapes; it means the same."""
    return _ESCAPED.sub(lambda found: json.dumps(found.group())[1:-1], json_text)


def without_citations(text: str) -> str:
    """A model's text with its own `[2]` as `(2)`: only code writes marks of citations."""
    return _CITATION.sub(r"(\1)", text)


def indented(text: str, by: str = "    ", *, hanging: str | None = None) -> list[str]:
    """Wraps a text to lines of 96 characters; `by` begins the first, `hanging` or `by` the rest."""
    joined = " ".join(text.split())
    hanging = by if hanging is None else hanging
    return textwrap.wrap(joined, _WIDTH, initial_indent=by, subsequent_indent=hanging)


def shortened(text: str, most: int) -> str:
    """Shortens a text to `most` characters on one line."""
    joined = " ".join(text.split())
    return joined if len(joined) <= most else joined[: most - 1].rstrip() + "…"


def heading(title: str) -> str:
    """A title as it stands before an id, so short that no part of it wraps to a line's start."""
    return shortened(title, _HEADING)


def plural(number: int, noun: str, nouns: str = "") -> str:
    """Number with its noun: `1 passage`, `2 passages`."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """Rounded duration: `20 s`, `5 min`, `3 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1, seconds):.0f} s"
