"""HTML parser: title, and text with blank lines between blocks, as a browser shows them.

Lexbor (selectolax) builds the tree by the rules of browsers (WHATWG): implied end tags, misnested
tags and character references come out as there. The walk over it keeps what a reader would see.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hoptrail.rag.ingest.parsers.base import Page, short_title
from hoptrail.rag.ingest.parsers.decoding import declared_encoding, decode
from hoptrail.rag.ingest.parsers.shallow_markup import shallow

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_NOT_SHOWN = frozenset(
    "head title script style template noscript svg iframe object audio video canvas datalist "  # noqa: SIM905
    "noframes annotation rp area".split()
)
_LINES = frozenset("br tr li dt dd option legend thead tbody tfoot".split())  # noqa: SIM905
_BLOCKS = frozenset(
    "p div h1 h2 h3 h4 h5 h6 ul ol dl table pre caption blockquote section article header footer "  # noqa: SIM905
    "nav aside main form hr fieldset figure figcaption address details summary dialog search "
    "center menu optgroup".split()
)
_CELLS = frozenset(("td", "th"))
_APART = frozenset("a button input select textarea label img meter progress".split())  # noqa: SIM905
"""Inline elements with a space around: boxes of their own on a page, and links side by side."""

_INVISIBLE = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.I
)
_VALUES = frozenset("text search email url tel number date submit button reset".split())  # noqa: SIM905
"""Types of `input` whose value is shown."""

_CHARSET = re.compile(
    rb"<(?:meta\b[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:()+-]+)"
    rb"|\?xml\b[^>]*?\bencoding\s*=\s*[\"']([\w.:()+-]+))",
    re.I,
)
_COMMENT = re.compile(rb"<!--.*?-->", re.S)
_DECLARED_IN = 4096

_BLOCK, _LINE, _CELL, _SPACE = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
"""Marks in the walk's output: never characters of a text (Unicode 23.7)."""

_MARKS = re.compile(f"[{_BLOCK}-{_SPACE}]")
_MARK_OF = {
    **dict.fromkeys(_APART, " "),
    **dict.fromkeys(_CELLS, _CELL),
    **dict.fromkeys(_LINES, _LINE),
    **dict.fromkeys(_BLOCKS, _BLOCK),
}
_KEPT = str.maketrans({"\n": _LINE, " ": _SPACE, "\t": 4 * _SPACE})
_FOLDED = str.maketrans({_BLOCK: " ", _LINE: " "})

_SHORT_CELL = 200
"""Characters and pieces of a table cell that is shown in its row's line. A longer one is a page's
layout: its blocks stay."""


def html_page(data: bytes) -> Page:
    """Returns the text of an HTML file: a blank line between blocks, a line end between lines.

    Scripts, styles, templates, comments and what is hidden in place (`hidden`, `display: none`) are
    dropped; white space is folded as a browser does, but for `pre`. The cells of a table's row
    stand in one line with tabs between. Links and pictures are not followed.

    Raises:
        UnreadableFile: the bytes are not text in the declared encoding (UTF-8 without a
            declaration).
    """
    found = _CHARSET.search(_COMMENT.sub(b"", data[:_DECLARED_IN]))
    label = (found[1] or found[2]).decode("ascii", "replace") if found else None
    return page_of_markup(decode(data, declared_encoding(label)))


def page_of_markup(markup: str, headings: frozenset[str] = frozenset(("h1",))) -> Page:
    """Returns title and text of HTML markup.

    Args:
        markup: a page or a part of one.
        headings: the elements whose first one gives the title of a page without `title`.
    """
    from selectolax.lexbor import LexborHTMLParser  # noqa: PLC0415  (lazily: heavy)

    tree = LexborHTMLParser(shallow(_MARKS.sub("", markup)))
    heading = tree.css_first("head > title")
    title = " ".join(heading.text().split()) if heading is not None else ""
    walk = _Walk(headings)
    if tree.root is not None:
        walk.over(tree.root)
    return Page(title=short_title(title or walk.heading), text=_laid_out("".join(walk.pieces)))


class _Walk:
    """The walk over a tree in document order, without recursion; gathers text and marks."""

    def __init__(self, headings: frozenset[str]) -> None:
        self.pieces: list[str] = []
        self.heading = ""
        self._headings = headings
        self._pre = 0
        self._seam = 0
        """Since the last text: 1, an inline element ended; 2, and another began at once."""
        self._opened: list[int] = []
        """Where in `pieces` each open heading or cell begins."""

    def over(self, root: LexborNode) -> None:
        """Walks over what is below `root`."""
        above: list[LexborNode] = []
        node = root.first_child
        while node is not None:
            if self._enter(node):
                below = node.first_child
                if below is not None:
                    above.append(node)
                    node = below
                    continue
                self._leave(node)
            following = node.next
            while following is None and above:
                parent = above.pop()
                self._leave(parent)
                following = parent.next
            node = following

    def _enter(self, node: LexborNode) -> bool:
        """Takes a node in; says whether what is below it is shown."""
        if node.is_text_node:
            self._text(node.text_content or "")
            return False
        tag = node.tag or ""
        if not node.is_element_node or tag in _NOT_SHOWN or _is_hidden(tag, node):
            return False
        self._mark(tag, begins=True)
        if tag in _CELLS or tag in self._headings:
            self._opened.append(len(self.pieces))
        self._pre += tag == "pre"
        if tag == "input":
            self._text(_value(node))
        return True

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        self._pre -= tag == "pre"
        if tag in self._headings:
            start = self._opened.pop()
            self.heading = self.heading or _one_line(self.pieces[start:])
        elif tag in _CELLS:
            self._fold_cell(self._opened.pop())
        self._mark(tag, begins=False)

    def _text(self, text: str) -> None:
        if self._seam == 2 and self.pieces and _are_two_words(self.pieces[-1], text):
            self.pieces.append(" ")
        if text:
            self._seam = 0
            self.pieces.append(text.translate(_KEPT) if self._pre else text)

    def _mark(self, tag: str, *, begins: bool) -> None:
        if mark := _MARK_OF.get(tag, ""):
            self._seam = 0
            if not (begins and tag in _CELLS):  # cells are parted by one tab
                self.pieces.append(mark)
        else:
            self._seam = 1 if not begins else 2 * min(self._seam, 1)

    def _fold_cell(self, start: int) -> None:
        """Puts what a short cell holds on one line."""
        if len(self.pieces) - start > _SHORT_CELL:
            return
        whole = "".join(self.pieces[start:])
        if len(whole) <= _SHORT_CELL and _CELL not in whole:
            self.pieces[start:] = [whole.translate(_FOLDED)]


def _is_hidden(tag: str, node: LexborNode) -> bool:
    """Whether the page itself says that an element is not shown."""
    attributes = node.attributes
    if not attributes:
        return tag == "dialog"
    hidden = attributes.get("hidden", "shown") or "hidden"
    if hidden == "hidden" or ("hidden" in attributes and hidden.lower() != "until-found"):
        return True
    style = attributes.get("style")
    return bool(style and _INVISIBLE.search(style)) or (
        tag == "dialog" and "open" not in attributes
    )


def _value(node: LexborNode) -> str:
    attributes = node.attributes
    kind = (attributes.get("type") or "text").lower()
    return (attributes.get("value") or "") if kind in _VALUES else ""


def _are_two_words(before: str, after: str) -> bool:
    """Whether elements side by side hold a word each, as in minified pages: "Phone", "0155"."""
    last, first = before[-1:], after[:1]
    if not (last.isalnum() and first.isalnum()):
        return False
    return (last.islower() and first.isupper()) or last.isdigit() != first.isdigit()


def _one_line(pieces: list[str]) -> str:
    return " ".join(_MARKS.sub(" ", "".join(pieces)).split())


def _laid_out(marked: str) -> str:
    """The text of marked text: white space folded, marks replaced by what they stand for."""
    blocks = []
    for block in marked.split(_BLOCK):
        lines = (_line(line) for line in block.split(_LINE))
        blocks.append("\n".join(line for line in lines if line))
    return "\n\n".join(block for block in blocks if block).strip()


def _line(marked: str) -> str:
    if _CELL in marked:
        cells = (" ".join(cell.split()) for cell in marked.split(_CELL))
        marked = "\t".join(cells).strip("\t")
    else:
        marked = " ".join(marked.split())
    return marked.replace(_SPACE, " ").rstrip()
