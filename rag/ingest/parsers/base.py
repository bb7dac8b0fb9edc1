"""Shared by all parsers: the parsed page, and the checks of size and emptiness."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hoptrail.rag.ingest.files import UnreadableFile, os_refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Title and text of a parsed file. An empty title: the file has none."""

    title: str
    text: str


LONGEST_TITLE = 300
"""Characters. A title is repeated with each passage, so an unbounded one makes cost grow with the
square of a file's size."""


def short_title(title: str) -> str:
    """Returns the title, cut between words to `LONGEST_TITLE` characters with "…" at its end."""
    if len(title) <= LONGEST_TITLE:
        return title
    cut = title[: LONGEST_TITLE - 1]
    space = cut.rfind(" ", LONGEST_TITLE // 2)
    return (cut[:space] if space > 0 else cut).rstrip() + "…"


def too_long(text_chars: int) -> UnreadableFile:
    """Returns the refusal of a file whose text has more characters than that."""
    return UnreadableFile(f"gives more than {text_chars:,} characters of text", "too_large")


def read_bytes(path: Path, most: int) -> bytes:
    """Returns a file's bytes.

    Raises:
        Refused: it has more than `most`, is no longer there or cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise os_refusal(error) from None
    if len(data) > most:
        raise UnreadableFile(f"is larger than {most:,} bytes", "too_large")
    return data


def check_text(text: str, text_chars: int) -> str:
    """Returns the text. Raises UnreadableFile if it is blank or longer than `text_chars`."""
    if len(text) > text_chars:
        raise too_long(text_chars)
    if not text.strip():
        raise UnreadableFile("holds no text", "empty")
    return text
