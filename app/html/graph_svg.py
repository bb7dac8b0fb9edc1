"""A layered drawing of a small graph as inline SVG: columns by distance, no library, no script.

Every text goes through ElementTree, so none of it can become markup. The order within a column is
by barycentre (Sugiyama et al. 1981, "Methods for visual understanding of hierarchical systems"):
each box moves to the mean height of what it is linked to, a few times over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.text import shortened, shown

Kind = Literal["question", "name", "asked", "evidence", "passed"]

_COLUMN, _ROW, _WIDTH, _HEIGHT, _MARGIN = 250, 54, 190, 36, 16
"""Pixels: between the left edges of two columns and of two rows, of a box, around all."""
_LABEL = 27
"""Characters that fit into a box."""
_SWEEPS = 8
"""There and back again: an even number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A node of the drawing."""

    id: str
    """Letters and digits: it goes into style rules."""
    kind: Kind
    label: str
    hint: str
    """Shown while the pointer rests on it."""
    target: str = ""
    """Id of the part of the page that a click leads to; empty: it leads nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A link between two boxes, from the question outward."""

    source: str
    target: str
    weight: int = 1
    """Columns that it spans."""
    road: bool = False
    """Whether a search went this way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    x: float
    y: float


def columns(boxes: Sequence[Box], lines: Sequence[Line]) -> list[list[str]]:
    """The boxes' ids by their distance from the first box, which all must be linked to.

    Within a column, those linked to the same neighbours are next to each other.
    """
    far = len(boxes) * 2
    distance = {box.id: far for box in boxes}
    distance[boxes[0].id] = 0
    for _ in boxes:
        for line in lines:
            for one, other in ((line.source, line.target), (line.target, line.source)):
                distance[other] = min(distance[other], distance[one] + line.weight)
    places: dict[int, list[str]] = {}
    for box in boxes:
        places.setdefault(distance[box.id], []).append(box.id)
    ordered = [places[key] for key in sorted(places)]
    for _ in range(_SWEEPS):
        ordered = _swept(ordered, lines)[::-1]
    return ordered


def svg(boxes: Sequence[Box], lines: Sequence[Line]) -> Element:
    """The drawing; the first box is where all begins."""
    ordered = columns(boxes, lines)
    tallest = max(len(column) for column in ordered)
    spots = {
        one: _Spot(
            x=_MARGIN + at * _COLUMN,
            y=_MARGIN + (row + (tallest - len(column)) / 2) * _ROW,
        )
        for at, column in enumerate(ordered)
        for row, one in enumerate(column)
    }
    width = 2 * _MARGIN + (len(ordered) - 1) * _COLUMN + _WIDTH
    height = 2 * _MARGIN + tallest * _ROW
    root = Element("svg", viewBox=f"0 0 {width} {height}", width=str(width), height=str(height))
    root.set("role", "img")
    root.set("aria-label", "The passages of the evidence and the names that link them")
    for line in lines:
        root.append(_path(line, spots))
    for box in boxes:
        root.append(_box(box, spots[box.id]))
    return root


def rules(boxes: Sequence[Box]) -> str:
    """Style rules that light up the lines of the box under the pointer."""
    return "\n".join(
        f"svg:has(#{box.id}:hover,#{box.id}:focus-within) .{box.id}"
        "{stroke:#d9480f;stroke-width:3}"
        for box in boxes
    )


def _swept(ordered: Sequence[Sequence[str]], lines: Sequence[Line]) -> list[list[str]]:
    """The columns, each ordered by where the columns before it are linked to it."""
    heights: dict[str, float] = {}
    swept: list[list[str]] = []
    for column in ordered:
        own = {one: at - len(column) / 2 for at, one in enumerate(column)}
        order = {one: (_mean(one, lines, heights, own[one]), own[one]) for one in column}
        swept.append(sorted(column, key=order.__getitem__))
        heights.update((one, at - len(column) / 2) for at, one in enumerate(swept[-1]))
    return swept


def _mean(one: str, lines: Sequence[Line], heights: Mapping[str, float], own: float) -> float:
    """The mean height of what a box is linked to among those placed."""
    ends = [line.target if line.source == one else line.source for line in lines
            if one in (line.source, line.target)]  # fmt: skip
    linked = [heights[end] for end in ends if end in heights]
    return round(sum(linked) / len(linked), 6) if linked else own


def _path(line: Line, spots: Mapping[str, _Spot]) -> Element:
    left, right = sorted((spots[line.source], spots[line.target]), key=lambda spot: spot.x)
    x, y, end, to = left.x + _WIDTH, left.y + _HEIGHT / 2, right.x, right.y + _HEIGHT / 2
    middle = (x + end) / 2
    kind = "road" if line.road else "link"
    return Element(
        "path",
        {
            "class": f"{kind} {line.source} {line.target}",
            "d": f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {to:g} {end:g} {to:g}",
        },
    )


def _box(box: Box, spot: _Spot) -> Element:
    group = Element("a" if box.target else "g", {"id": box.id, "class": box.kind})
    if box.target:
        group.set("href", f"#{box.target}")
    SubElement(group, "title").text = shown(box.hint)
    round_ = str(_HEIGHT // 2 if box.kind in ("name", "asked") else 4)
    SubElement(
        group,
        "rect",
        {"x": f"{spot.x:g}", "y": f"{spot.y:g}", "rx": round_, "width": str(_WIDTH),
         "height": str(_HEIGHT)},
    )  # fmt: skip
    place = {"x": f"{spot.x + _WIDTH / 2:g}", "y": f"{spot.y + _HEIGHT / 2 + 5:g}"}
    SubElement(group, "text", place).text = shortened(shown(box.label), _LABEL)
    return group
