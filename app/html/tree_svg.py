"""Icicle plot of a corpus tree (Kruskal and Landwehr 1983) as inline SVG.

A column for each layer; the height of a node is proportional to its number of leaves. Nodes and
leaves that a search scored are drawn larger, and coloured by their score.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.tree_selection import TreeSelection, ancestors
from hoptrail.app.text import plural, shortened, shown
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import ROOT

STYLE = """
.tree text{font-size:12px;fill:#111}
.tree rect{stroke:#868e96;stroke-width:.5}
.tree a:hover rect{stroke:#111;stroke-width:2}
.tree .way rect{stroke:#d9480f;stroke-width:2}
"""

_COLUMN, _LINE, _HEIGHT = 230, 18, 1400
"""Pixels: width of a column, height of a line of text, most height of a tree without a search."""
_LEAST = 1.5
"""Least height in pixels of a node or leaf that is drawn."""
_SCORED_NODE, _SCORED_LEAF = 14.0, 6.0
"""Least heights in pixels of scored nodes and leaves."""
_LABEL, _LINES, _HINT = 33, 8, 500
"""Characters of a line, lines of a box, characters of its tooltip."""
_PLAIN, _LOW, _HIGH = "#f1f3f5", (0xFF, 0xF9, 0xDB), (0x40, 0xC0, 0x57)
"""Colours of no score, of score 0 and of the best score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """Rectangle of a node or leaf in the drawing."""

    ref: Ref
    depth: int
    top: float
    height: float


class _Icicle:
    """Layout of one drawing: heights and positions of nodes and leaves."""

    def __init__(self, selection: TreeSelection) -> None:
        self._selection = selection
        trace = selection.trace
        self.opened = {} if trace is None else trace.opened
        self.scores = {} if trace is None else trace.scores
        self.best = max(self.scores.values(), default=0)
        rows = {one.row for one in trace.evidence_leaves} if trace is not None else set()
        self.path_nodes = {Ref(leaf=True, number=row) for row in rows}
        self.path_nodes |= {Ref(leaf=False, number=one) for one in ancestors(selection.tree, rows)}
        self._scale = min(_LINE, _HEIGHT / max(1, selection.tree.nodes[ROOT].count))
        self._heights: dict[Ref, float] = {}
        self.height = self._measure(Ref(leaf=False, number=ROOT))

    def bands(self) -> Iterator[_Band]:
        """Rectangles that are high enough to be seen, parents first."""
        waiting = [_Band(ref=Ref(leaf=False, number=ROOT), depth=0, top=0, height=self.height)]
        while waiting:
            band = waiting.pop()
            if band.height < _LEAST:
                continue
            yield band
            top = band.top
            for ref in self._children(band.ref):
                height = self._heights[ref]
                waiting.append(_Band(ref=ref, depth=band.depth + 1, top=top, height=height))
                top += height

    def count(self, ref: Ref) -> int:
        return 1 if ref.leaf else self._selection.tree.nodes[ref.number].count

    def _children(self, ref: Ref) -> tuple[Ref, ...]:
        return (
            ()
            if ref.leaf
            else self._selection.shown_children(self._selection.tree.nodes[ref.number])
        )

    def _measure(self, ref: Ref) -> float:
        """Height of a node or leaf, at least the sum of its children's."""
        below = sum(self._measure(one) for one in self._children(ref))
        height = max(below or self.count(ref) * self._scale, self._least(ref))
        self._heights[ref] = height
        return height

    def _least(self, ref: Ref) -> float:
        if ref in self.path_nodes or (not ref.leaf and ref.number in {ROOT, *self.opened}):
            return _LINE
        if ref in self.scores:
            return _SCORED_LEAF if ref.leaf else _SCORED_NODE
        return 0


def tree_svg(selection: TreeSelection) -> Element:
    """Draws the selection; boxes link to the ids `n` + node number and `r` + row of a leaf."""
    icicle = _Icicle(selection)
    bands = list(icicle.bands())
    width = (max(band.depth for band in bands) + 1) * _COLUMN
    height = f"{icicle.height + 2:g}"
    root = Element("svg", viewBox=f"-1 -1 {width + 2} {height}", width=str(width), height=height)
    root.set("class", "tree")
    root.set("role", "img")
    root.set("aria-label", "The tree, a column a layer")
    for band in bands:
        root.append(_drawn(band, icicle, selection))
    return root


def anchor(ref: Ref) -> str:
    """HTML id of a node's or leaf's entry in the list."""
    return f"{'r' if ref.leaf else 'n'}{ref.number}"


def order_and_score(order: int | None, score: float | None) -> str:
    """Text of a node's order of opening and its score; empty if it has neither."""
    parts = ("" if order is None else f"#{order}", "" if score is None else f"{score:.2f}")
    return " · ".join(part for part in parts if part)


def _drawn(band: _Band, icicle: _Icicle, selection: TreeSelection) -> Element:
    ref, score = band.ref, icicle.scores.get(band.ref)
    order = None if ref.leaf else icicle.opened.get(ref.number)
    link = Element(
        "a", {"href": f"#{anchor(ref)}", "class": "way" if ref in icicle.path_nodes else "by"}
    )
    marked, name = order_and_score(order, score), selection.name(ref)
    hint = [name, *([marked] if marked else []), plural(icicle.count(ref), "leaf", "leaves")]
    SubElement(link, "title").text = shown(shortened(" | ".join(hint), _HINT))
    x = band.depth * _COLUMN
    SubElement(
        link,
        "rect",
        {"x": str(x), "y": f"{band.top:g}", "width": str(_COLUMN), "height": f"{band.height:g}",
         "fill": _colour(score, icicle.best)},
    )  # fmt: skip
    label = f"{marked} · {name}" if marked else name
    for number, line in enumerate(_wrapped(label, int((band.height + 4) / _LINE)), 1):
        place = {"x": str(x + 5), "y": f"{band.top + number * _LINE - 6:g}"}
        SubElement(link, "text", place).text = line
    return link


def _wrapped(label: str, lines: int) -> list[str]:
    """Wraps a label to the lines that a box has room for."""
    if lines == 0:
        return []
    most = min(lines, _LINES)
    return textwrap.wrap(shown(" ".join(label.split())), _LABEL, max_lines=most, placeholder="…")


def _colour(score: float | None, best: float) -> str:
    # Relative to the best: scorers differ in their level, and colour is to tell better from worse.
    if score is None:
        return _PLAIN
    share = score / best if best > 0 else 0.0
    mixed = (round(low + (high - low) * share) for low, high in zip(_LOW, _HIGH, strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)
