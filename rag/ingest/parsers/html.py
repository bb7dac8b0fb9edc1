"""HTML parser: title, and text with blank lines between blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.base import Page
from hoptrail.rag.ingest.parsers.decoding import declared_encoding, decode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_DROPPED = ("script", "style", "template", "noscript", "svg", "title", "iframe", "object")
_LINES = ("br", "tr", "li", "dt", "dd", "option")
_BLOCKS = (
    *("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "pre", "caption"),
    *("blockquote", "section", "article", "header", "footer", "nav", "aside", "main", "form", "hr"),
    *("fieldset", "figure", "figcaption", "address", "details", "summary", "thead", "tbody"),
)

_BLOCK_MARK, _LINE_MARK = "\ufdd0", "\ufdd1"  # never characters of a text (Unicode 23.7)


def html_page(data: bytes) -> Page:
    """Returns the text of an HTML file: a blank line between blocks, a line end between lines.

    Scripts, styles, templates and comments are dropped; white space is folded as a browser does,
    but for `pre`. Links and pictures are not followed.

    Raises:
        Refused: the bytes are not text in the declared encoding (UTF-8 without a declaration), or
            no markup at all.
    """
    from bs4 import BeautifulSoup, ParserRejectedMarkup  # noqa: PLC0415  (lazily: 0.2 s)
    from bs4.dammit import EncodingDetector  # noqa: PLC0415

    declared = EncodingDetector.find_declared_encoding(data[:4096], is_html=True)
    text = (
        decode(data, declared_encoding(declared)).replace(_BLOCK_MARK, "").replace(_LINE_MARK, "")
    )
    try:
        soup = BeautifulSoup(text, "html.parser")
    except ParserRejectedMarkup as error:
        raise UnreadableFile(f"is not HTML ({error})", "malformed") from None
    heading = soup.find("title") or soup.find("h1")
    title = " ".join(heading.get_text().split()) if heading else ""
    for tag in soup.find_all(_DROPPED):
        tag.decompose()
    return Page(title=title, text=_layout(soup))


def _layout(soup: BeautifulSoup) -> str:
    for pre in soup.find_all("pre"):
        for string in pre.find_all(string=True):
            string.replace_with(string.replace("\n", _LINE_MARK))
    for mark, names in ((_BLOCK_MARK, _BLOCKS), (_LINE_MARK, _LINES), (" ", ("td", "th"))):
        for tag in soup.find_all(names):
            tag.insert_before(mark)
            tag.insert_after(mark)
    blocks = []
    for block in soup.get_text().split(_BLOCK_MARK):
        lines = (" ".join(line.split()) for line in block.split(_LINE_MARK))
        blocks.append("\n".join(line for line in lines if line))
    return "\n\n".join(block for block in blocks if block)
