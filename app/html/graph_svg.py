"""Layered drawing of a small graph as inline SVG: columns by distance, no library, no script.

Every text goes through ElementTree, so none of it can become markup. The order within a column is
by barycentre (Sugiyama et al. 1981, "Methods for visual understanding of hierarchical systems"):
each box moves to the mean height of its neighbours, in several sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.text import shortened, shown

BoxKind = Literal["question", "name", "asked", "evidence", "passed"]

_COLUMN, _ROW, _WIDTH, _HEIGHT, _MARGIN = 250, 54, 190, 36, 16
"""Pixels: column pitch, row pitch, width and height of a box, margin."""
_LABEL = 27
"""Characters that fit into a box."""
_SWEEPS = 8
"""Sweeps, alternately left to right and back: an even number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphBox:
    """Node of the drawing."""

    id: str
    """Letters and digits only: used in style rules."""
    kind: BoxKind
    label: str
    hint: str
    """Tooltip."""
    target: str = ""
    """Id of the section that a click leads to; empty: no link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """Edge between two boxes, from the question outward."""

    source: str
    target: str
    weight: int = 1
    """Columns that the edge spans."""
    hop: bool = False
    """Whether a search hopped along the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Position:
    x: float
    y: float


def layers(boxes: Sequence[GraphBox], edges: Sequence[GraphEdge]) -> list[list[str]]:
    """Ids of boxes in columns by distance from the first box, to which all must be connected.

    Within a column, boxes with the same neighbours are next to each other.
    """
    far = len(boxes) * 2
    distance = {box.id: far for box in boxes}
    distance[boxes[0].id] = 0
    for _ in boxes:
        for edge in edges:
            for one, other in ((edge.source, edge.target), (edge.target, edge.source)):
                distance[other] = min(distance[other], distance[one] + edge.weight)
    places: dict[int, list[str]] = {}
    for box in boxes:
        places.setdefault(distance[box.id], []).append(box.id)
    ordered = [places[key] for key in sorted(places)]
    for _ in range(_SWEEPS):
        ordered = _barycentre_order(ordered, edges)[::-1]
    return ordered


def graph_svg(boxes: Sequence[GraphBox], edges: Sequence[GraphEdge]) -> Element:
    """Draws a graph; the first box is the leftmost."""
    ordered = layers(boxes, edges)
    tallest = max(len(column) for column in ordered)
    positions = {
        one: _Position(
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
    for edge in edges:
        root.append(_path(edge, positions))
    for box in boxes:
        root.append(_box(box, positions[box.id]))
    return root


def hover_rules(boxes: Sequence[GraphBox]) -> str:
    """CSS rules that highlight the edges of the box under the pointer."""
    return "\n".join(
        f"svg:has(#{box.id}:hover,#{box.id}:focus-within) .{box.id}"
        "{stroke:#d9480f;stroke-width:3}"
        for box in boxes
    )


def _barycentre_order(
    ordered: Sequence[Sequence[str]], edges: Sequence[GraphEdge]
) -> list[list[str]]:
    """Orders each column by the mean height of its neighbours in the columns before it."""
    heights: dict[str, float] = {}
    reordered: list[list[str]] = []
    for column in ordered:
        own = {one: at - len(column) / 2 for at, one in enumerate(column)}
        order = {one: (_mean(one, edges, heights, own[one]), own[one]) for one in column}
        reordered.append(sorted(column, key=order.__getitem__))
        heights.update((one, at - len(column) / 2) for at, one in enumerate(reordered[-1]))
    return reordered


def _mean(one: str, edges: Sequence[GraphEdge], heights: Mapping[str, float], own: float) -> float:
    """Mean height of the neighbours of a box that are placed already."""
    ends = [edge.target if edge.source == one else edge.source for edge in edges
            if one in (edge.source, edge.target)]  # fmt: skip
    linked = [heights[end] for end in ends if end in heights]
    return round(sum(linked) / len(linked), 6) if linked else own


def _path(edge: GraphEdge, positions: Mapping[str, _Position]) -> Element:
    left, right = sorted(
        (positions[edge.source], positions[edge.target]), key=lambda position: position.x
    )
    x, y, end, to = left.x + _WIDTH, left.y + _HEIGHT / 2, right.x, right.y + _HEIGHT / 2
    middle = (x + end) / 2
    kind = "hop" if edge.hop else "link"
    return Element(
        "path",
        {
            "class": f"{kind} {edge.source} {edge.target}",
            "d": f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {to:g} {end:g} {to:g}",
        },
    )


def _box(box: GraphBox, position: _Position) -> Element:
    group = Element("a" if box.target else "g", {"id": box.id, "class": box.kind})
    if box.target:
        group.set("href", f"#{box.target}")
    SubElement(group, "title").text = shown(box.hint)
    round_ = str(_HEIGHT // 2 if box.kind in ("name", "asked") else 4)
    SubElement(
        group,
        "rect",
        {"x": f"{position.x:g}", "y": f"{position.y:g}", "rx": round_, "width": str(_WIDTH),
         "height": str(_HEIGHT)},
    )  # fmt: skip
    place = {"x": f"{position.x + _WIDTH / 2:g}", "y": f"{position.y + _HEIGHT / 2 + 5:g}"}
    SubElement(group, "text", place).text = shortened(shown(box.label), _LABEL)
    return group
