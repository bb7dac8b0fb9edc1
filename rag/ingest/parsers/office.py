"""Word, PowerPoint and Excel parsers: what the file shows, laid out as a web page, or row by row.

python-docx and python-pptx open the package; the text is read off its XML, since they pass over
what stands in content controls, insertions and text boxes. openpyxl gives the cells of a workbook.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from datetime import datetime, time
from html import escape
from typing import Any

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page, PageLimits, check_zip, short_title
from hoptrail.rag.ingest.parsers.delimited import text_of_rows
from hoptrail.rag.ingest.parsers.html import page_of_markup
from hoptrail.rag.ingest.parsers.pdf import told_title

_SKIPPED = frozenset(("pPr", "rPr", "tblPr", "sectPr", "Fallback", "moveFrom", "del", "rt"))
"""Elements without text of the document: properties, second forms, what was deleted, readings."""
_TAGS = {"tbl": "table", "tr": "tr", "tc": "td"}
_BREAKS = {"br": "<br>", "cr": "<br>", "tab": " ", "noBreakHyphen": "‑"}
_TITLES = frozenset(("title", "heading 1"))
_LONGEST_REASON = 200
_EXACT = 2**53
"""Whole numbers below it are exact in a workbook."""
_NOTES = ("/footnotes", "/endnotes")


def docx_page(data: bytes, limits: PageLimits) -> Page:
    """Returns title and text of a Word file, with tables, text boxes and notes.

    Raises:
        UnreadableFile: it is damaged, encrypted, something else, or a decompression bomb.
        ModuleNotFoundError: python-docx is not installed.
    """
    from docx import Document  # noqa: PLC0415  (lazily: heavy, and an extra)
    from docx.oxml import parse_xml  # noqa: PLC0415

    check_zip(data, "a Word document", limits)
    try:
        document = Document(io.BytesIO(data))
        headings = {
            style.style_id for style in document.styles if (style.name or "").lower() in _TITLES
        }
        notes = [
            parse_xml(one.target_part.blob)
            for one in document.part.rels.values()
            if not one.is_external and one.reltype.endswith(_NOTES)
        ]
        parts = [document.element.body, *notes]
        markup = "".join(piece for part in parts for piece in _markup(part, headings))
        title = document.core_properties.title
    except (MemoryError, ModuleNotFoundError, UnreadableFile):
        raise
    except Exception as error:
        raise _damaged("Word document", error) from None
    return _page(markup, title)


def pptx_page(data: bytes, limits: PageLimits) -> Page:
    """Returns title and text of a PowerPoint file, slide by slide, each with its notes.

    Raises:
        UnreadableFile: it is damaged, encrypted, something else, or a decompression bomb.
        ModuleNotFoundError: python-pptx is not installed.
    """
    from pptx import Presentation  # noqa: PLC0415  (lazily: heavy, and an extra)

    check_zip(data, "a presentation", limits)
    try:
        presentation = Presentation(io.BytesIO(data))
        pieces: list[str] = []
        for slide in presentation.slides:
            if (first := slide.shapes.title) is not None:
                pieces += _markup(first._element, None)
            pieces += (
                piece
                for shape in slide.shapes
                if first is None or shape.shape_id != first.shape_id
                for piece in _markup(shape._element, frozenset())
            )
            frame = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
            if frame is not None:
                pieces += _markup(frame._txBody, frozenset())
        title = presentation.core_properties.title
    except (MemoryError, ModuleNotFoundError, UnreadableFile):
        raise
    except Exception as error:
        raise _damaged("presentation", error) from None
    return _page("".join(pieces), title)


def xlsx_page(data: bytes, limits: PageLimits) -> Page:
    """Returns title and text of an Excel file: the rows of each sheet as those of a CSV file.

    Formulas are the values that were saved with them. A sheet's name stands before its rows where
    there are several.

    Raises:
        UnreadableFile: it is damaged, encrypted, something else, or a decompression bomb, or gives
            more text than it may.
        ModuleNotFoundError: openpyxl is not installed.
    """
    from openpyxl import load_workbook  # noqa: PLC0415  (lazily: heavy, and an extra)

    check_zip(data, "an Excel workbook", limits)
    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheets, size = {}, 0
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # or each row is as wide as the widest, far beyond its cells
            rows = (list(map(_cell, row)) for row in sheet.iter_rows(values_only=True))
            text = text_of_rows(rows, limits.text_chars - size)
            size += len(text)
            if text:
                sheets[sheet.title] = text
        title = book.properties.title or ""
    except (MemoryError, ModuleNotFoundError, UnreadableFile):
        raise
    except Exception as error:
        raise _damaged("Excel workbook", error) from None
    named = len(sheets) > 1
    texts = (f"{name}\n\n{text}" if named else text for name, text in sheets.items())
    return Page(title=short_title(told_title(title)), text="\n\n".join(texts))


def _cell(value: object) -> str:
    """A cell as text: dates by ISO 8601, whole numbers without a point."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat(" ")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    return " ".join(str(value).split())


def _page(markup: str, title: str) -> Page:
    page = page_of_markup(markup)
    told = told_title(title)
    return Page(title=short_title(told) if told else page.title, text=page.text)


def _damaged(what: str, error: Exception) -> UnreadableFile:
    why = " ".join(str(error).split())[:_LONGEST_REASON]
    return UnreadableFile(f"is damaged, or no {what} ({why})", "malformed")


def _markup(root: Any, headings: frozenset[str] | set[str] | None) -> Iterator[str]:  # noqa: ANN401
    """The markup of an element of WordprocessingML or DrawingML.

    `headings`: the styles whose paragraphs are headings; None: all are.
    """
    from lxml import etree  # noqa: PLC0415

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = etree.QName(element).localname if isinstance(element.tag, str) else ""
        if event == "start" and tag in _SKIPPED:
            walk.skip_subtree()
        elif tag == "p":
            name = "h1" if headings is None or _style(element) in headings else "p"
            yield f"<{name}>" if event == "start" else f"</{name}>"
        elif tag in _TAGS:
            yield f"<{_TAGS[tag]}>" if event == "start" else f"</{_TAGS[tag]}>"
        elif event == "start" and tag == "t":
            yield escape(element.text or "", quote=False)
        elif event == "start":
            yield _BREAKS.get(tag, "")


def _style(paragraph: Any) -> str | None:  # noqa: ANN401 (an lxml element)
    """The id of a Word paragraph's style."""
    styles = paragraph.findall("./{*}pPr/{*}pStyle")
    attributes: Mapping[str, str] = styles[0].attrib if styles else {}
    return next((value for key, value in attributes.items() if key.endswith("}val")), None)
