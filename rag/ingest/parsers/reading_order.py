"""Reading order of a page's lines: columns that were drawn row by row come one after the other.

A run of lines with the same gap in each is two columns if both sides are prose, else a table, whose
rows stay together. Where a page draws its columns one after the other, no line has a gap and
nothing is moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from statistics import median

Box = tuple[float, float, float, float]
"""Left, bottom, right and top of a character, in points; y grows upwards."""

_LEAST_GUTTER = 0.8
"""Width of a gutter, in heights of a line."""

_LARGEST_STEP = 1.5
"""Space between two lines of a run, in heights of a line."""

_LEAST_ROWS = 3
"""Lines of a run that have text on both sides."""

_MOST_GAPS, _LONGEST_RUN = 4, 500
"""Gaps of a line that are tried as gutters, and lines of a run: they bound the time."""

_PROSE_WORDS, _PROSE_CHARACTERS, _PROSE_CAPITALS = 3, 12, 2 / 3
"""Median words and characters of a column's lines, and the share of them that begin with a capital
or digit: cells of a table are shorter, and most begin so."""


@dataclass(slots=True, kw_only=True)
class Segment:
    """A part of a line without a wide gap, with the box around it."""

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        """In points, at least 1."""
        return max(1.0, self.top - self.bottom)

    def add(self, text: str, box: Box) -> None:
        """Appends a character; its box is the line's from here on, but for the left end."""
        self.text += text
        _, self.bottom, self.right, self.top = box[0], box[1], max(self.right, box[2]), box[3]


Line = Sequence[Segment]


def reading_order(lines: Sequence[Line]) -> list[str]:
    """Returns the texts of a page's lines in the order in which they are read.

    Args:
        lines: in the order of drawing; the segments of a line from left to right.
    """
    texts: list[str] = []
    at = 0
    while at < len(lines):
        end, gutter = _columns(lines, at)
        block = lines[at:end]
        if gutter is None:
            texts.extend(" ".join(segment.text for segment in line) for line in block)
        else:
            for side in _sides(block, gutter):
                texts.extend(reading_order([line for line in side if line]))
        at = end
    return texts


def _columns(lines: Sequence[Line], at: int) -> tuple[int, float | None]:
    """The end of the run that begins at a line, and its gutter's middle; None: it is no columns."""
    rejected = at + 1
    for left, right in pairwise(lines[at][: _MOST_GAPS + 1]):
        end, gutter, rows = _run(lines, at, (left.right, right.left))
        if rows < _LEAST_ROWS:
            continue
        if all(map(_is_prose, _sides(lines[at:end], gutter))):
            return end, gutter
        rejected = max(rejected, end)
    return rejected, None


def _run(lines: Sequence[Line], at: int, gutter: tuple[float, float]) -> tuple[int, float, int]:
    """The run of lines that leave a gutter free: its end, the gutter's middle, its full rows."""
    low, high = gutter
    above, rows, end = math.inf, 0, at
    for line in islice(lines, at, at + _LONGEST_RUN):
        height = line[0].height
        if not 0 < above - line[0].bottom < (1 + _LARGEST_STEP) * height and end > at:
            break
        middle = (low + high) / 2
        before = [one.right for one in line if one.left + one.right < 2 * middle]
        after = [one.left for one in line if one.left + one.right >= 2 * middle]
        left, right = max([low, *before]), min([high, *after])
        if right - left < _LEAST_GUTTER * height:
            break
        low, high, above = left, right, line[0].bottom
        rows += bool(before and after)
        end += 1
    return end, (low + high) / 2, rows


def _sides(block: Sequence[Line], gutter: float) -> tuple[list[list[Segment]], list[list[Segment]]]:
    return (
        [[one for one in line if one.left < gutter] for line in block],
        [[one for one in line if one.left >= gutter] for line in block],
    )


def _is_prose(side: list[list[Segment]]) -> bool:
    texts = [one.text.strip() for line in side for one in line if one.text.strip()]
    if not texts:
        return False
    capitals = sum(text[0].isupper() or text[0].isdigit() for text in texts)
    words = median(len(text.split()) for text in texts)
    caseless = sum(text.upper() == text.lower() for text in texts) > len(texts) / 2
    return (
        median(map(len, texts)) >= _PROSE_CHARACTERS
        and (words >= _PROSE_WORDS or caseless)
        and capitals <= _PROSE_CAPITALS * len(texts)
    )
