"""Skeleton of the HTML pages: one file that loads nothing and runs no script.

A content security policy enforces that; the page works from a disk. All text goes through
ElementTree, which escapes it, with control characters replaced.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from hoptrail.app.text import shortened, shown
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.layout import write_whole

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Evidence

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
h1{font-size:1.3rem}
.scroll{overflow-x:auto;border:1px solid #8886;border-radius:6px}
svg{display:block;font-size:13px}
svg a{cursor:pointer}
section{border:1px solid #8884;border-radius:6px;margin:1rem 0;padding:.3rem 1rem}
section:target{outline:3px solid #d9480f}
section h2{font-size:1.05rem}
blockquote{border-left:3px solid #2b8a3e;margin:.6rem 0;padding-left:.8rem;white-space:pre-line}
blockquote.changed{border-color:#c92a2a}
.small{font-size:.85rem;opacity:.8}
"""
_TITLE = 100


def blank(title: str, style: str) -> tuple[Element, Element]:
    """Empty page: its root element and its body.

    `style` is not escaped: it must hold no text of a document.
    """
    html = Element("html", lang="en")
    head, body = SubElement(html, "head"), SubElement(html, "body")
    SubElement(head, "meta", charset="utf-8")
    SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    SubElement(head, "title").text = shown(shortened(title, _TITLE))
    SubElement(head, "style").text = _STYLE + style
    return html, body


def put(parent: Element, tag: str, text: str, kind: str = "", **attributes: str) -> Element:
    """Appends an element with a text to its parent; `kind` is its class."""
    made = SubElement(parent, tag, attributes)
    if kind:
        made.set("class", kind)
    made.text = shown(text)
    return made


def put_answer(parent: Element, receipt: Receipt) -> None:
    """Appends the question, as the heading, and its answer."""
    put(parent, "h1", receipt.question)
    answer = "The documents' own words:" if receipt.extractive else receipt.answer
    put(parent, "p", answer or "No answer.")


def put_quote(parent: Element, item: Evidence, *, changed: bool) -> None:
    """Appends a quote, its place in the document, and whether the document still has it there."""
    put(parent, "blockquote", item.quote, "changed" if changed else "same")
    where = f"{item.document_id}, characters {item.start} to {item.end}"
    state = "the store's document has changed since" if changed else "as in the store"
    put(parent, "p", f"{where}: {state}", "small")


def serialised(html: Element) -> str:
    """Serialises a page to HTML text."""
    return f"<!doctype html>\n{tostring(html, encoding='unicode', method='html')}\n"


def write_page(path: Path, html: str) -> None:
    """Writes a page to a file.

    Raises:
        SettingsError: the file cannot be written.
    """
    try:
        write_whole(path, html.encode("utf-8", "replace"))
    except OSError as error:
        raise SettingsError(
            f"The page cannot be written to {str(path)!r}: {error.strerror}."
        ) from error
