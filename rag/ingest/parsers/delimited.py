"""CSV and TSV parser: a line a row, each cell after the name of its column.

So a row says by itself what its numbers are, wherever a passage begins. Delimiter and header are
read off the first rows, by fixed rules.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page, too_long

_DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_CHARACTERS, _SAMPLE_ROWS = 65_536, 50
_NAMED = re.compile(r"\Asep=(.)\r?\n")
"""The line by which Excel names a delimiter."""
_NUMBER = re.compile(r"[-+]?[\d.,\s]*\d[\d.,\s]*%?")
_LONGEST_NAME = 100
"""Characters of a column's name, which is repeated with each row."""


def delimited_page(text: str, text_chars: int) -> Page:
    """Returns the rows of a CSV or TSV file, a blank line between them: `name: cell; name: cell`.

    The first row has the names if all its cells are filled, different and no numbers; without
    names a tab stands between cells. Empty cells are left out.

    Raises:
        UnreadableFile: it is damaged, or gives more than `text_chars`.
    """
    csv.field_size_limit(max(1, len(text)))
    named = _NAMED.match(text)
    body = text[named.end() :] if named else text
    delimiter = named[1] if named else _delimiter(body[:_SAMPLE_CHARACTERS])
    try:
        return Page(title="", text=text_of_rows(_rows(body, delimiter), text_chars))
    except csv.Error as error:
        raise UnreadableFile(f"is a damaged table ({error})", "malformed") from None


def text_of_rows(rows: Iterable[Sequence[str]], text_chars: int) -> str:
    """The rows of a table as paragraphs, each cell after the name that the first row gives it.

    Args:
        rows: cells without line ends; rows of empty ones are left out.
        text_chars: most characters of the text.

    Raises:
        UnreadableFile: it would have more.
    """
    filled = (row for row in rows if any(row))
    first = next(filled, ())
    names = _names(first)
    lines, size = [_line(first, ())] if first and not names else [], 0
    for row in filled:
        lines.append(_line(row, names))
        size += len(lines[-1]) + 2
        if size > text_chars:
            raise too_long(text_chars)
    return "\n\n".join(lines or [_line(first, ())])


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows, the white space of each cell folded."""
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
        yield [" ".join(cell.split()) for cell in row]


def _line(row: Sequence[str], names: Sequence[str]) -> str:
    """A row as a line; cells beyond the last name have none."""
    if not names:
        return "\t".join(cell for cell in row if cell)
    cells = (
        f"{names[at]}: {cell}" if at < len(names) else cell for at, cell in enumerate(row) if cell
    )
    return "; ".join(cells)


def _names(row: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns; empty: the row has values."""
    if len(set(row)) < max(2, len(row)) or any(not cell or _NUMBER.fullmatch(cell) for cell in row):
        return ()
    return tuple(cell[:_LONGEST_NAME] for cell in row)


def _delimiter(sample: str) -> str:
    """The delimiter by which most of the first rows have equally many cells, and several."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            lines = io.StringIO(sample, newline="")
            rows = list(islice(csv.reader(lines, delimiter=delimiter), _SAMPLE_ROWS))
        except csv.Error:
            return 0, 0
        sizes = Counter(len(row) for row in rows if len(row) > 1)
        return max(((count, size) for size, count in sizes.items()), default=(0, 0))

    return max(_DELIMITERS, key=fit)
