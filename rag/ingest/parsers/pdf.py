"""PDF parser: title, and text with a blank line between pages."""

from __future__ import annotations

import io
import re

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page, too_long


def pdf_page(data: bytes, text_chars: int) -> Page:
    """Returns the text of a PDF file, a blank line between pages.

    Raises:
        Refused: it is encrypted, holds no text, holds more than `text_chars`, or is damaged.
    """
    from pypdf import PdfReader  # noqa: PLC0415
    from pypdf.errors import DependencyError, PyPdfError  # noqa: PLC0415

    try:
        reader = PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableFile("is encrypted: save it without a password", "malformed")
        pages, size = [], 0
        for page in reader.pages:
            pages.append(_clean(page.extract_text()).strip())
            size += len(pages[-1])
            if size > text_chars:
                raise too_long(text_chars)
        title = reader.metadata.title if reader.metadata else None
    except DependencyError:
        raise UnreadableFile("is encrypted: save it without a password", "malformed") from None
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        # pypdf meets a damaged file with whatever its code trips over
        raise UnreadableFile(
            f"is a damaged PDF ({type(error).__name__}: {error})", "malformed"
        ) from None
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise UnreadableFile("holds no text, as scans do: run a text recognition first", "empty")
    return Page(title=" ".join(_clean(title or "").split()), text=text)


def _clean(text: str) -> str:
    """Returns the text without what fonts with broken tables give: NULs and half characters."""
    return re.sub("[\ud800-\udfff]", "\ufffd", str(text).replace("\0", ""))
