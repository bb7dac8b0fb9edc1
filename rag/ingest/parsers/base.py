"""Shared by all parsers: the parsed page, and the checks of size and emptiness."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hoptrail.rag.ingest.files import UnreadableFile, os_refusal

RATIO_FROM = 10_000_000
"""Unpacked bytes: less is harmless, however well it was compressed."""
_ENCRYPTED = 0x1
_OLD = b"\xd0\xcf\x11\xe0"
"""How files of the old Office formats begin, and encrypted ones of the new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Title and text of a parsed file. An empty title: the file has none."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLimits:
    """Limits of what one file may give."""

    text_chars: int
    zip_bytes: int
    """Unpacked size of a zip archive."""
    zip_ratio: float
    """Ratio of unpacked to packed bytes, above `RATIO_FROM` unpacked ones."""


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


def check_zip(data: bytes, what: str, limits: PageLimits) -> None:
    """Checks a zip archive's directory before it is unpacked; unpacking stops at what it says.

    Args:
        data: the file.
        what: what it should be, with its article.
        limits: what all entries together may have unpacked.

    Raises:
        UnreadableFile: it is damaged, encrypted, or a decompression bomb.
    """
    if data.startswith(_OLD):
        reason = f"is encrypted, or of an old Office format, not {what}: save it again without"
        raise UnreadableFile(f"{reason} a password in the new format", "malformed")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise UnreadableFile(f"is damaged: no zip archive ({error})", "malformed") from None
    if any(one.flag_bits & _ENCRYPTED for one in entries):
        raise UnreadableFile("is encrypted: save it without a password", "malformed")
    size = sum(one.file_size for one in entries)
    if size > limits.zip_bytes:
        raise UnreadableFile(f"unpacks to more than {limits.zip_bytes:,} bytes", "bomb")
    if size > RATIO_FROM and size > limits.zip_ratio * len(data):
        raise UnreadableFile(
            f"unpacks to more than {limits.zip_ratio:g} times its size, as decompression bombs do",
            "bomb",
        )
