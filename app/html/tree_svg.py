"""A tree as an icicle (Kruskal and Landwehr 1983): a column a layer, as high as it has leaves.

What a search came by is drawn larger, and coloured by its score.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.tree_selection import TreeSelection, above
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
"""Pixels: width of a column, height of a line of text, of a tree that is not too high for it."""
_LEAST = 1.5
"""What is lower is not drawn."""
_SCORED_NODE, _SCORED_LEAF = 14.0, 6.0
_LABEL, _LINES, _HINT = 33, 8, 500
"""Characters of a line, lines of a box, characters of what is shown at it."""
_PLAIN, _LOW, _HIGH = "#f1f3f5", (0xFF, 0xF9, 0xDB), (0x40, 0xC0, 0x57)
"""Of what has no score, of 0 and of the best score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """A node or leaf on the drawing."""

    ref: Ref
    depth: int
    top: float
    height: float


class _Icicle:
    """The measures of one drawing."""

    def __init__(self, sight: TreeSelection) -> None:
        self._sight = sight
        road = sight.road
        self.opened = {} if road is None else road.opened
        self.scores = {} if road is None else road.scores
        self.best = max(self.scores.values(), default=0)
        rows = {one.row for one in road.proofs} if road is not None else set()
        self.ways = {Ref(leaf=True, number=row) for row in rows}
        self.ways |= {Ref(leaf=False, number=one) for one in above(sight.tree, rows)}
        self._scale = min(_LINE, _HEIGHT / max(1, sight.tree.nodes[ROOT].count))
        self._heights: dict[Ref, float] = {}
        self.height = self._measure(Ref(leaf=False, number=ROOT))

    def bands(self) -> Iterator[_Band]:
        """All that is high enough to be seen, parents first."""
        waiting = [_Band(ref=Ref(leaf=False, number=ROOT), depth=0, top=0, height=self.height)]
        while waiting:
            band = waiting.pop()
            if band.height < _LEAST:
                continue
            yield band
            top = band.top
            for ref in self._below(band.ref):
                height = self._heights[ref]
                waiting.append(_Band(ref=ref, depth=band.depth + 1, top=top, height=height))
                top += height

    def count(self, ref: Ref) -> int:
        return 1 if ref.leaf else self._sight.tree.nodes[ref.number].count

    def _below(self, ref: Ref) -> tuple[Ref, ...]:
        return () if ref.leaf else self._sight.below(self._sight.tree.nodes[ref.number])

    def _measure(self, ref: Ref) -> float:
        """What it takes, and all below it."""
        below = sum(self._measure(one) for one in self._below(ref))
        height = max(below or self.count(ref) * self._scale, self._least(ref))
        self._heights[ref] = height
        return height

    def _least(self, ref: Ref) -> float:
        if ref in self.ways or (not ref.leaf and ref.number in {ROOT, *self.opened}):
            return _LINE
        if ref in self.scores:
            return _SCORED_LEAF if ref.leaf else _SCORED_NODE
        return 0


def picture(sight: TreeSelection) -> Element:
    """The drawing; a click on a node leads to the element `n` and its number, of a leaf to `r`."""
    icicle = _Icicle(sight)
    bands = list(icicle.bands())
    width = (max(band.depth for band in bands) + 1) * _COLUMN
    height = f"{icicle.height + 2:g}"
    root = Element("svg", viewBox=f"-1 -1 {width + 2} {height}", width=str(width), height=height)
    root.set("class", "tree")
    root.set("role", "img")
    root.set("aria-label", "The tree, a column a layer")
    for band in bands:
        root.append(_drawn(band, icicle, sight))
    return root


def anchor(ref: Ref) -> str:
    """The id of a node's or leaf's part of the page."""
    return f"{'r' if ref.leaf else 'n'}{ref.number}"


def marks(order: int | None, score: float | None) -> str:
    """As which a node was opened, and what it scored; empty if neither."""
    parts = ("" if order is None else f"#{order}", "" if score is None else f"{score:.2f}")
    return " · ".join(part for part in parts if part)


def _drawn(band: _Band, icicle: _Icicle, sight: TreeSelection) -> Element:
    ref, score = band.ref, icicle.scores.get(band.ref)
    order = None if ref.leaf else icicle.opened.get(ref.number)
    link = Element("a", {"href": f"#{anchor(ref)}", "class": "way" if ref in icicle.ways else "by"})
    marked, name = marks(order, score), sight.name(ref)
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
    """As many lines as a box has room for."""
    if lines == 0:
        return []
    most = min(lines, _LINES)
    return textwrap.wrap(shown(" ".join(label.split())), _LABEL, max_lines=most, placeholder="…")


def _colour(score: float | None, best: float) -> str:
    # Scorers differ in how much they give, and to tell better from worse is what colour is for.
    if score is None:
        return _PLAIN
    share = score / best if best > 0 else 0.0
    mixed = (round(low + (high - low) * share) for low, high in zip(_LOW, _HIGH, strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)
