"""Texts made to be slow: a unit repeated, for tests of time by size."""

from __future__ import annotations

import itertools

PROSE_UNIT = (
    "The cannery at Ostrand was founded in 1902 by Mette Laurvik, who sold it to the state in "
    "1940. It employed ninety women, most of them from the islands, and closed in the spring. "
)

_PAIRS = [*itertools.product("QWXYZKqwxyzkjJvVbB", repeat=2)]

UNITS = {
    "no-break spaces": "\u00a0.",
    "full stops": ".",
    "spaced full stops": ". ",
    "exclamations": "!?",
    "quotes": '"',
    "quoted ends": '." ',
    "brackets": "(",
    "spaces": " ",
    "ideographic spaces": "\u3000",
    "tabs and spaces": "\t \n ",
    "line ends": "\n",
    "Windows line ends": "\r\n",
    "one endless word": "q",
    "capitals in one word": "Ab",
    "numbered": "1. ",
    "digits": "7",
    "digits and dots": "1.",
    "digits and commas": "1,",
    "combining marks": "\u0301",
    "letters with marks": "e\u0301\u0300",
    "Chinese": "我们今天去海边看船",
    "Chinese sentences": "中。",
    "Thai": "ภาษาไทย",
    "Hangul parts": "\u1100\u1161\u11a8",
    "no end of sentence": "wandering ",
    "initials": "A. ",
    "abbreviations": "U.S. ",
    "titles": "Dr. ",
    "names": "Ab Cd ",
    "links": "Of of ",
    "hyphens": "a-",
    "apostrophes": "'",
    "emoji": "👩‍👩‍👧",
    "zero width": "\u200d",
    "ligatures": "\ufdfa",
    "ellipses": "…",
    "a short and a long sentence": "Hi. " + "y" * 9_990,
    "a word and spaces": "x" + " " * 5_000,
    "angle brackets": "<",
    "tags": "<b>",
    "attributes": "<a b=",
    "references": "&#99999999999;",
    "square brackets": "[",
    "pictures": "![](<",
    "emphasis": "**a*",
    "backticks": "`a",
    "quote marks": "> ",
    "list items": "- a\n",
    "pipes": "|a|b|\n|-|-|\n",
    "squared words": "㌖",
    "fractions": "½",
    "single letters": "A.B.C.D ",
    "unique codes": " ".join(f"{a}{b}-{at:x}" for at, (a, b) in enumerate(_PAIRS)) + " ",
    "unique short codes": " ".join(f"{a}{at % 10}{b}" for at, (a, b) in enumerate(_PAIRS)) + " ",
    "end tags of others": "<b></i>",
    "unclosed formatting": "".join(f"<p><b id={at}>" for at in range(1500)),
    "self-closing tags": "<x/>",
    "lines of deep quotes": ">" * 90 + "a\n" + "b\n" * 9_000,
    "short rows of a wide table": "|a" * 100 + "\n" + "|-" * 100 + "\n" + "x\n" * 100 + "\n",
}


def repeated(unit: str, size: int) -> str:
    """A text of that many characters."""
    return (unit * (size // len(unit) + 1))[:size]
