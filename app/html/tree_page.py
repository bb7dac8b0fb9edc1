"""HTML page of a corpus tree, with the tree search of a receipt drawn into it.

The page is made by `page`: it loads nothing and runs no script. Nodes fold as `<details>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.page import blank, put, put_answer, put_quote, serialised
from hoptrail.app.html.tree_selection import TreeSelection, ancestors
from hoptrail.app.html.tree_svg import STYLE, anchor, order_and_score, tree_svg
from hoptrail.app.text import plural, shortened
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import ROOT

if TYPE_CHECKING:
    from hoptrail.app.html.tree_selection import EvidenceLeaf, OpenedNode, TreeSearchTrace

_NAME, _TEXT = 90, 300
"""Most characters of a node or leaf in a list, and of a leaf's text."""
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


def tree_page(selection: TreeSelection, title: str) -> str:
    """Makes the page of a tree; `title` is the heading of one without a search."""
    trace = selection.trace
    html, body = blank(title if trace is None else trace.receipt.question, _STYLE)
    if trace is None:
        put(body, "h1", title)
    else:
        put_answer(body, trace.receipt)
    SubElement(body, "div", {"class": "scroll"}).append(tree_svg(selection))
    put(body, "p", _LEGEND + ("" if trace is None else _SEARCH_LEGEND), "small")
    if trace is not None:
        _put_search(body, selection, trace)
    put(body, "h2", "The tree")
    _put_tree(body, selection)
    return serialised(html)


def _put_search(body: Element, selection: TreeSelection, trace: TreeSearchTrace) -> None:
    if trace.evidence_leaves:
        put(body, "h2", "The evidence and the way to it")
    for evidence in trace.evidence_leaves:
        _put_evidence(body, selection, evidence, trace)
    if not trace.openings:
        return
    put(body, "h2", "The search")
    listed = SubElement(body, "ol", {"class": "search"})
    for opening in trace.openings:
        _put_opening(SubElement(listed, "li"), selection, opening)


def _put_evidence(
    body: Element, selection: TreeSelection, evidence: EvidenceLeaf, trace: TreeSearchTrace
) -> None:
    section = SubElement(body, "section")
    leaf = Ref(leaf=True, number=evidence.row)
    put(section, "h3", selection.name(leaf))
    way = SubElement(section, "p", {"class": "small"})
    nodes = sorted(ancestors(selection.tree, (evidence.row,)), key=selection.tree.depth)
    for ref in (*(Ref(leaf=False, number=one) for one in nodes), leaf):
        arrow = _put_link(way, selection, ref)
        mark = order_and_score(
            trace.opened.get(ref.number) if not ref.leaf else None, trace.scores.get(ref)
        )
        arrow.tail = (f" ({mark})" if mark else "") + ("" if ref.leaf else " → ")
    for item in evidence.quotes:
        put_quote(section, item, changed=item.id in trace.changed)


def _put_opening(entry: Element, selection: TreeSelection, opening: OpenedNode) -> None:
    details = SubElement(entry, "details")
    summary = SubElement(details, "summary")
    summary.text = f"#{opening.order}, iteration {opening.iteration}: "
    link = _put_link(summary, selection, Ref(leaf=False, number=opening.node))
    scored = sum(score is not None for score in opening.children.values())
    of = plural(len(opening.children), "child", "children")
    why = "for its likeness to the question" if opening.reserve else f"at {opening.relevance:.2f}"
    link.tail = f", opened {why}: {scored} of {of} scored"
    table = SubElement(details, "table")
    for kind, scores in (("", opening.children), ("shown for scale", opening.anchors)):
        # Best first; refs without a score are last.
        for ref in sorted(scores, key=lambda one: _key(scores[one])):
            _put_score(table, selection, ref, scores[ref], kind)


def _key(score: float | None) -> float:
    return 1.0 if score is None else -score


def _put_score(
    table: Element, selection: TreeSelection, ref: Ref, score: float | None, kind: str
) -> None:
    line = SubElement(table, "tr")
    bar = SubElement(line, "td")
    if score is not None:
        SubElement(bar, "meter", {"value": f"{score:.3f}"})
    put(line, "td", "not scored" if score is None else f"{score:.2f}")
    _put_link(SubElement(line, "td"), selection, ref)
    put(line, "td", kind, "count")


def _put_link(parent: Element, selection: TreeSelection, ref: Ref) -> Element:
    """Appends a link to a node's or leaf's entry in the list, or its name if it has no entry."""
    name = shortened(selection.name(ref), _NAME)
    if ref not in selection.refs:
        return put(parent, "span", name)
    return put(parent, "a", name, href=f"#{anchor(ref)}")


def _put_tree(body: Element, selection: TreeSelection) -> None:
    """Appends all shown nodes, each inside its parent."""
    path_nodes = (
        set()
        if selection.trace is None
        else ancestors(selection.tree, (one.row for one in selection.trace.evidence_leaves))
    )
    places = {ROOT: body}
    for node in selection.nodes():
        details = SubElement(places[node.number], "details", id=f"n{node.number}")
        if node.number == ROOT or node.number in path_nodes:
            details.set("open", "open")
        ref = Ref(leaf=False, number=node.number)
        summary = put(details, "summary", f"{shortened(selection.name(ref), _NAME)} ")
        _put_mark(summary, selection, ref)
        put(summary, "span", plural(node.count, "leaf", "leaves"), "count")
        if len(selection.name(ref)) > _NAME:
            put(details, "p", node.text, "small")
        places.update((child, details) for child in node.children)
        if node.number in selection.expanded:
            _put_leaves(details, selection, node.rows)
        else:
            put(details, "p", f"Not shown: hoptrail tree show {node.number} lists it.", "count")


def _put_leaves(details: Element, selection: TreeSelection, rows: Sequence[int]) -> None:
    for row in rows:
        ref = Ref(leaf=True, number=row)
        line = SubElement(details, "p", id=anchor(ref))
        put(line, "b", shortened(selection.name(ref), _NAME)).tail = " "
        _put_mark(line, selection, ref)
        passage = selection.passages.get(row)
        if passage is not None:
            put(
                line, "span", f"{passage.document_id} {passage.start}:{passage.end}", "count"
            ).tail = " "
            put(line, "span", shortened(passage.text, _TEXT), "small")


def _put_mark(parent: Element, selection: TreeSelection, ref: Ref) -> None:
    """Appends the order of opening and the score of a node or leaf, if it has them."""
    if selection.trace is None:
        return
    order = None if ref.leaf else selection.trace.opened.get(ref.number)
    mark = order_and_score(order, selection.trace.scores.get(ref))
    if mark:
        put(parent, "span", mark, "mark").tail = " "
