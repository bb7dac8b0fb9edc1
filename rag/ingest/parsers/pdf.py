"""PDF parser: title, and text with a blank line between pages, by PDFium (the engine of Chrome).

PDFium gives characters with their boxes in the order of drawing. `reading_order` puts columns that
were drawn row by row one after the other; words broken at line ends are joined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ctypes import byref
from functools import cache
from typing import Any

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page, short_title, too_long
from hoptrail.rag.ingest.parsers.reading_order import Box, Segment, reading_order
from hoptrail.rag.text.tokens import static_folder

_HYPHEN = "\x02"
"""What PDFium gives for a hyphen at a line's end, in place of the hyphen and the line end."""

_SOFT_HYPHEN = "\xad"
_BROKEN = re.compile(r"([^\W\d_]+)[\x02\xad-]\n([^\W\d_]+)")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_UNTOLD = re.compile(
    r"(?i)\W*(?:|untitled|unknown|unspecified|anonymous|none|null|title|no title|document|"
    r"(?:untitled )?document ?\d*|presentation ?\d*|powerpoint presentation|slide \d+|"
    r"microsoft (?:word|powerpoint|excel|office)\b.*|.*\.(?:docx?|pptx?|xlsx?|dvi|tex|indd|qxd|pdf|"
    r"rtf|odt|pages|pub|ps|eps|tmp))\W*"
)
"""Titles that a program filled in."""

_CONJUNCTIONS = frozenset("and or to und oder bis et ou y o".split())  # noqa: SIM905
"""What follows a hyphen that stands for a word: "pre- and post-war"."""

_SHORTEST_PART = 3

_SPACE_GAP, _COLUMN_GAP, _OVERLAP = 0.25, 1.0, 0.3
"""Parts of a character's height: the gap of a space, the gap that may be one between columns, and
how far a character may stand back over the one before it."""


def pdf_page(data: bytes, text_chars: int) -> Page:
    """Returns the text of a PDF file, a blank line between pages.

    Files that are encrypted without a user's password are read. A title of the metadata that a
    program filled in ("untitled", "Microsoft Word - a.doc") is none.

    Raises:
        UnreadableFile: it needs a password, holds no text, holds more than `text_chars`, or is
            damaged.
    """
    import pypdfium2  # noqa: PLC0415
    from pypdfium2 import raw  # noqa: PLC0415

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if raw.FPDF_GetLastError() == raw.FPDF_ERR_PASSWORD or "password" in str(error).lower():
            reason = "is encrypted: save it without a password"
            raise UnreadableFile(reason, "malformed") from None
        raise UnreadableFile(f"is a damaged PDF ({error})", "malformed") from None
    pages, size = [], 0
    for number in range(len(document)):
        pages.append(_page_text(document, number, pypdfium2.PdfiumError))
        size += len(pages[-1])
        if size > text_chars:
            raise too_long(text_chars)
    text = _whole_words("\n\n".join(page for page in pages if page))
    if not text:
        raise UnreadableFile("holds no text, as scans do: run a text recognition first", "empty")
    title = told_title(_clean(document.get_metadata_dict().get("Title", "")))
    return Page(title=short_title(title), text=text)


def told_title(title: str) -> str:
    """The title of a file's metadata on one line; empty where a program filled it in."""
    folded = " ".join(title.split())
    return "" if _UNTOLD.fullmatch(folded) else folded


def _page_text(document: Any, number: int, failure: type[Exception]) -> str:  # noqa: ANN401
    try:
        page = document[number]
        page.set_rotation(0)  # or PDFium gives the lines of a turned page in the wrong order
        characters = page.get_textpage()
    except failure as error:
        raise UnreadableFile(
            f"is a damaged PDF (page {number + 1}: {error})", "malformed"
        ) from None
    lines = reading_order(_lines(characters))
    characters.close()
    page.close()
    return "\n".join(filter(None, (" ".join(_clean(line).split(" ")).strip() for line in lines)))


def _lines(characters: Any) -> list[list[Segment]]:  # noqa: ANN401
    """The lines of a page, each its segments: runs of characters without a wide gap."""
    lines: list[list[Segment]] = []
    segment: Segment | None = None
    gap = ""
    for character, box in _characters(characters):
        if box is None:
            gap = "\n" if character in "\r\n" or gap == "\n" else " "
            continue
        if segment is None or segment.text.endswith(_HYPHEN) or not _goes_on(segment, box, gap):
            segment = _begin(box)
            lines.append([segment])
        elif box[0] - segment.right > _COLUMN_GAP * segment.height:
            segment = _begin(box)
            lines[-1].append(segment)
        elif gap == " " or (gap and box[0] - segment.right > _SPACE_GAP * segment.height):
            segment.text += " "
        segment.add(character, box)
        gap = ""
    return lines


def _begin(box: Box) -> Segment:
    return Segment(text="", left=box[0], bottom=box[1], right=box[2], top=box[3])


def _goes_on(segment: Segment, box: Box, gap: str) -> bool:
    """Whether a character is in the line, though a line end of PDFium's may stand before it.

    It is where it stands beside the line: raised and lowered characters, and the next column's.
    """
    if gap != "\n":
        return True
    left, bottom, _, top = box
    shared = min(top, segment.top) - max(bottom, segment.bottom)
    beside = left - segment.right > -_OVERLAP * segment.height
    return beside and shared > 0.5 * min(top - bottom, segment.height)


def _characters(characters: Any) -> Iterator[tuple[str, Box | None]]:  # noqa: ANN401
    """The characters of a page in PDFium's order, with their boxes; white space has none."""
    from pypdfium2 import raw  # noqa: PLC0415

    handle, box = characters.raw, raw.FS_RECTF()
    for at in range(raw.FPDFText_CountChars(handle)):
        code = raw.FPDFText_GetUnicode(handle, at)
        character = _HYPHEN if raw.FPDFText_IsHyphen(handle, at) == 1 else chr(code)
        if character.isspace() or not raw.FPDFText_GetLooseCharBox(handle, at, byref(box)):
            yield character, None
        elif code:
            yield character, (box.left, box.bottom, box.right, box.top)


def _whole_words(text: str) -> str:
    """The text with the words joined that were broken at line ends; real hyphens are kept."""
    own = set(_WORD.findall(text.casefold()))

    def joined(broken: re.Match[str]) -> str:
        before, after = broken[1], broken[2]
        if after in _CONJUNCTIONS and broken[0][len(before)] != _SOFT_HYPHEN:
            return f"{before}- {after}"
        soft = broken[0][len(before)] == _SOFT_HYPHEN or _is_one_word(before, after, own)
        return before + after if soft else f"{before}-{after}"

    text = _BROKEN.sub(joined, text)
    text = re.sub(rf"(?<=\w)[{_HYPHEN}-]\n(?=\w)", "-", text)
    return text.replace(_HYPHEN, "-").replace(_SOFT_HYPHEN, "")


def _is_one_word(before: str, after: str, own: set[str]) -> bool:
    """Whether a hyphen between two parts is one of a line's end, by the words that are known."""
    if after[0].isupper() and not before.isupper():
        return False
    first, second = before.casefold(), after.casefold()
    if first + second in own or len(first) < _SHORTEST_PART:
        return True
    if f"{first}-{second}" in own:
        return False
    known = _english_words()
    return first + second in known or not (first in known and second in known)


@cache
def _english_words() -> frozenset[str]:
    """The words of nltk's English sentence model: those of newspapers."""
    path = (
        static_folder("nltk_cache") / "tokenizers" / "punkt_tab" / "english" / "ortho_context.tab"
    )
    with path.open(encoding="utf-8") as lines:
        return frozenset(line.partition("\t")[0] for line in lines)


def _clean(text: str) -> str:
    """Returns the text without what fonts with broken tables give: NULs and half characters."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\0", ""))
