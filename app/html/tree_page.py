"""A tree as one HTML page, and into it the search that a receipt tells of.

The page is as `pages` makes them: it loads nothing and runs no script. What folds is `<details>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.page import blank, put, put_answer, put_quote, serialised
from hoptrail.app.html.tree_selection import TreeSelection, above
from hoptrail.app.html.tree_svg import STYLE, anchor, marks, picture
from hoptrail.app.text import plural, shortened
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import ROOT

if TYPE_CHECKING:
    from hoptrail.app.html.tree_selection import EvidenceLeaf, OpenedNode, TreeSearchTrace

_NAME, _TEXT = 90, 300
"""Characters of a node or leaf in a list, and of a leaf's text."""
_STYLE = (
    STYLE
    + """
body{max-width:80rem}
.scroll{max-height:85vh;overflow:auto}
details{margin-left:1.1rem}
details>p{margin:.1rem 0 .1rem 1.1rem}
summary{cursor:pointer}
:target{outline:3px solid #d9480f}
.count,.mark{font-size:.85rem;opacity:.75}
.mark{color:#2b8a3e;opacity:1;font-weight:600}
ol.search{padding-left:0;list-style:none}
.search table{border-spacing:.6rem 0;margin-left:1rem}
meter{width:8rem}
"""
)
_LEGEND = (
    "A column a layer, as high as it has leaves. Point at a box for its words, click it for its "
    "place in the list below."
)
_SEARCH_LEGEND = (
    " The greener, the nearer its score to the best; #1 was opened first. Orange: the way to the "
    "evidence. What the search came by is drawn larger."
)


def tree_page(sight: TreeSelection, title: str) -> str:
    """The page of a tree; `title` is shown above one without a search."""
    road = sight.road
    html, body = blank(title if road is None else road.receipt.question, _STYLE)
    if road is None:
        put(body, "h1", title)
    else:
        put_answer(body, road.receipt)
    SubElement(body, "div", {"class": "scroll"}).append(picture(sight))
    put(body, "p", _LEGEND + ("" if road is None else _SEARCH_LEGEND), "small")
    if road is not None:
        _put_search(body, sight, road)
    put(body, "h2", "The tree")
    _put_tree(body, sight)
    return serialised(html)


def _put_search(body: Element, sight: TreeSelection, road: TreeSearchTrace) -> None:
    if road.proofs:
        put(body, "h2", "The evidence and the way to it")
    for proof in road.proofs:
        _put_proof(body, sight, proof, road)
    if not road.openings:
        return
    put(body, "h2", "The search")
    listed = SubElement(body, "ol", {"class": "search"})
    for opening in road.openings:
        _put_opening(SubElement(listed, "li"), sight, opening)


def _put_proof(
    body: Element, sight: TreeSelection, proof: EvidenceLeaf, road: TreeSearchTrace
) -> None:
    section = SubElement(body, "section")
    leaf = Ref(leaf=True, number=proof.row)
    put(section, "h3", sight.name(leaf))
    way = SubElement(section, "p", {"class": "small"})
    nodes = sorted(above(sight.tree, (proof.row,)), key=sight.tree.depth)
    for ref in (*(Ref(leaf=False, number=one) for one in nodes), leaf):
        arrow = _put_link(way, sight, ref)
        mark = marks(road.opened.get(ref.number) if not ref.leaf else None, road.scores.get(ref))
        arrow.tail = (f" ({mark})" if mark else "") + ("" if ref.leaf else " → ")
    for item in proof.quotes:
        put_quote(section, item, changed=item.id in road.changed)


def _put_opening(entry: Element, sight: TreeSelection, opening: OpenedNode) -> None:
    details = SubElement(entry, "details")
    summary = SubElement(details, "summary")
    summary.text = f"#{opening.order}, iteration {opening.iteration}: "
    link = _put_link(summary, sight, Ref(leaf=False, number=opening.node))
    scored = sum(score is not None for score in opening.children.values())
    of = plural(len(opening.children), "child", "children")
    why = "for its likeness to the question" if opening.reserve else f"at {opening.standing:.2f}"
    link.tail = f", opened {why}: {scored} of {of} scored"
    table = SubElement(details, "table")
    for kind, scores in (("", opening.children), ("shown for scale", opening.anchors)):
        # Best first, as one looks for them; what has no score stands last.
        for ref in sorted(scores, key=lambda one: _key(scores[one])):
            _put_score(table, sight, ref, scores[ref], kind)


def _key(score: float | None) -> float:
    return 1.0 if score is None else -score


def _put_score(
    table: Element, sight: TreeSelection, ref: Ref, score: float | None, kind: str
) -> None:
    line = SubElement(table, "tr")
    bar = SubElement(line, "td")
    if score is not None:
        SubElement(bar, "meter", {"value": f"{score:.3f}"})
    put(line, "td", "not scored" if score is None else f"{score:.2f}")
    _put_link(SubElement(line, "td"), sight, ref)
    put(line, "td", kind, "count")


def _put_link(parent: Element, sight: TreeSelection, ref: Ref) -> Element:
    """A link to a node's or leaf's place in the list; its bare name where that has none."""
    name = shortened(sight.name(ref), _NAME)
    if ref not in sight.refs:
        return put(parent, "span", name)
    return put(parent, "a", name, href=f"#{anchor(ref)}")


def _put_tree(body: Element, sight: TreeSelection) -> None:
    """All nodes that are shown, each inside its parent."""
    ways = (
        set() if sight.road is None else above(sight.tree, (one.row for one in sight.road.proofs))
    )
    places = {ROOT: body}
    for node in sight.nodes():
        details = SubElement(places[node.number], "details", id=f"n{node.number}")
        if node.number == ROOT or node.number in ways:
            details.set("open", "open")
        ref = Ref(leaf=False, number=node.number)
        summary = put(details, "summary", f"{shortened(sight.name(ref), _NAME)} ")
        _put_mark(summary, sight, ref)
        put(summary, "span", plural(node.count, "leaf", "leaves"), "count")
        if len(sight.name(ref)) > _NAME:
            put(details, "p", node.text, "small")
        places.update((child, details) for child in node.children)
        if node.number in sight.expanded:
            _put_leaves(details, sight, node.rows)
        else:
            put(details, "p", f"Not shown: hoptrail tree show {node.number} lists it.", "count")


def _put_leaves(details: Element, sight: TreeSelection, rows: Sequence[int]) -> None:
    for row in rows:
        ref = Ref(leaf=True, number=row)
        line = SubElement(details, "p", id=anchor(ref))
        put(line, "b", shortened(sight.name(ref), _NAME)).tail = " "
        _put_mark(line, sight, ref)
        passage = sight.passages.get(row)
        if passage is not None:
            put(
                line, "span", f"{passage.document_id} {passage.start}:{passage.end}", "count"
            ).tail = " "
            put(line, "span", shortened(passage.text, _TEXT), "small")


def _put_mark(parent: Element, sight: TreeSelection, ref: Ref) -> None:
    """As which it was opened and what it scored, if it was."""
    if sight.road is None:
        return
    order = None if ref.leaf else sight.road.opened.get(ref.number)
    mark = marks(order, sight.road.scores.get(ref))
    if mark:
        put(parent, "span", mark, "mark").tail = " "
