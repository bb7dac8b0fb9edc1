"""HTML page of an answer's evidence: passages, the names that link them, and their quotes.

The page is made by `page`: it loads nothing and runs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.graph_svg import BoxKind, GraphBox, GraphEdge, graph_svg, hover_rules
from hoptrail.app.html.page import blank, put, put_answer, put_quote, serialised
from hoptrail.app.receipts import changed_quotes
from hoptrail.app.text import plural, shortened
from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.passage_graph.shared_entities import SharedEntity, shared_entities

if TYPE_CHECKING:
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Evidence
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.types import Passage, Via

_HINT, _LABEL = 600, 80
"""Most characters of a box's tooltip, and of a name in a list."""
_STYLE = """
svg text{text-anchor:middle;fill:#111}
rect{stroke:#555;stroke-width:1}
a:hover rect,g:hover rect{stroke-width:2.5}
.question rect{fill:#ffe8cc}.asked rect{fill:#fff3bf}.name rect{fill:#f1f3f5}
.evidence rect{fill:#d3f9d8}.passed rect{fill:#e7f5ff;stroke-dasharray:4 3}
path{fill:none;stroke:#999;stroke-width:1}
path.hop{stroke:#1971c2;stroke-width:2.5}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidencePage:
    """HTML of an evidence page, with counts and warnings for the terminal."""

    html: str
    passages: int
    names: int
    """Names that link passages, or occur in the question and in a passage."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PassageNode:
    """Passage in the drawing, with its quotes and the hop that led to it."""

    id: str
    number: int
    title: str
    quotes: tuple[Evidence, ...]
    """Empty: the search only hopped through the passage."""
    changed: frozenset[str]
    """Ids of the quotes that the store's document no longer has."""
    via: Via | None

    @property
    def anchor(self) -> str:
        """HTML id of the passage's section."""
        return f"s{self.number}"


def evidence_page(receipt: Receipt, store: Store) -> EvidencePage:
    """Draws the evidence of a receipt and the names that link it in the store's passage graph.

    Raises:
        SettingsError: the receipt has no evidence, or was made from another store.
        BackendRefused: the store has no passage graph.
    """
    if not receipt.evidence:
        raise SettingsError(
            "The receipt has no evidence, so there is nothing to draw: the question was not "
            "answered from any passage."
        )
    nodes = _passage_nodes(receipt, store)
    entities = _with_hops(
        shared_entities(store, [one.id for one in nodes], receipt.question), nodes
    )
    boxes, edges = _graph(receipt.question, nodes, entities)
    changed = sum(len(one.changed) for one in nodes)
    warning = f"{plural(changed, 'quote')} no longer in the store: marked red on the page"
    return EvidencePage(
        html=_html(receipt, nodes, entities, boxes, edges),
        passages=len(nodes),
        names=len(entities),
        warnings=(warning,) if changed else (),
    )


def _passage_nodes(receipt: Receipt, store: Store) -> list[_PassageNode]:
    """Passages of the evidence, best first, then those that the search only hopped through."""
    quotes: dict[str, list[Evidence]] = {}
    for item in receipt.evidence:
        quotes.setdefault(item.passage_id, []).append(item)
    vias: dict[str, Via | None] = {item.passage_id: item.via for item in receipt.evidence}
    sources = {via.passage_id: via.title for via in vias.values() if via is not None}
    changed = changed_quotes(receipt, store)
    ids = list(dict.fromkeys([*quotes, *sources]))
    return [
        _PassageNode(
            id=identifier,
            number=number,
            title=_title(quotes.get(identifier, ()), sources.get(identifier, ""), passage),
            quotes=tuple(quotes.get(identifier, ())),
            changed=frozenset(one.id for one in quotes.get(identifier, ()) if one.id in changed),
            via=vias.get(identifier),
        )
        for number, (identifier, passage) in enumerate(
            zip(ids, store.passages(ids), strict=True), 1
        )
    ]


def _title(quotes: Sequence[Evidence], known: str, passage: Passage | None) -> str:
    """Title of a passage, also of one that is no longer in the store."""
    if quotes:
        return quotes[0].title or quotes[0].document_id
    return known or (passage.document_id if passage is not None else "a passage that is gone")


def _with_hops(entities: list[SharedEntity], nodes: Sequence[_PassageNode]) -> list[SharedEntity]:
    """Adds both passages of every hop to the passages of its entity."""
    by_key = {entity_key(one.name): one for one in entities}
    for node in nodes:
        if node.via is None:
            continue
        key = entity_key(node.via.name)
        entity = by_key.get(
            key, SharedEntity(name=node.via.name, asked=False, about=(), mentioning=())
        )
        more = {node.id, node.via.passage_id} - {*entity.about, *entity.mentioning}
        by_key[key] = replace(entity, mentioning=(*entity.mentioning, *sorted(more)))
    return list(by_key.values())


def _graph(
    question: str, nodes: Sequence[_PassageNode], entities: Sequence[SharedEntity]
) -> tuple[list[GraphBox], list[GraphEdge]]:
    boxes = [GraphBox(id="q", kind="question", label="the question", hint=question)]
    edges: list[GraphEdge] = []
    hops = {
        (entity_key(one.via.name), end)
        for one in nodes
        if one.via is not None
        for end in (one.id, one.via.passage_id)
    }
    for number, entity in enumerate(entities, 1):
        kind: BoxKind = "asked" if entity.asked else "name"
        boxes.append(GraphBox(id=f"n{number}", kind=kind, label=entity.name, hint=entity.name))
        if entity.asked:
            edges.append(GraphEdge(source="q", target=f"n{number}"))
    for node in nodes:
        boxes.append(_passage_box(node))
        for number, entity in enumerate(entities, 1):
            if node.id in {*entity.about, *entity.mentioning}:
                hop = (entity_key(entity.name), node.id) in hops
                edges.append(GraphEdge(source=f"n{number}", target=f"p{node.number}", hop=hop))
    return boxes, [*edges, *_question_edges(nodes, edges)]


def _passage_box(node: _PassageNode) -> GraphBox:
    quotes = "\n\n".join(one.quote for one in node.quotes)
    return GraphBox(
        id=f"p{node.number}",
        kind="evidence" if node.quotes else "passed",
        label=f"{node.number}. {node.title}",
        hint=f"{node.title}\n{shortened(quotes, _HINT)}",
        target=node.anchor,
    )


def _question_edges(nodes: Sequence[_PassageNode], edges: Sequence[GraphEdge]) -> list[GraphEdge]:
    """Edges from the question to passages that no name links to it, so that all are connected."""
    added: list[GraphEdge] = []
    # Passages reached by a hop come last: that hop may link them already.
    for node in sorted(nodes, key=lambda one: (one.via is not None, one.number)):
        if f"p{node.number}" not in _reached([*edges, *added]):
            added.append(GraphEdge(source="q", target=f"p{node.number}", weight=2))
    reached = _reached([*edges, *added])
    assert all(f"p{node.number}" in reached for node in nodes)
    return added


def _reached(edges: Sequence[GraphEdge]) -> set[str]:
    """Ids of the boxes that are connected to the question."""
    reached = {"q"}
    while (
        more := {
            end
            for edge in edges
            if (edge.source in reached) != (edge.target in reached)
            for end in (edge.source, edge.target)
        }
        - reached
    ):
        reached |= more
    return reached


def _html(
    receipt: Receipt,
    nodes: Sequence[_PassageNode],
    entities: Sequence[SharedEntity],
    boxes: Sequence[GraphBox],
    edges: Sequence[GraphEdge],
) -> str:
    html, body = blank(receipt.question, _STYLE + hover_rules(boxes))
    put_answer(body, receipt)
    SubElement(body, "div", {"class": "scroll"}).append(graph_svg(boxes, edges))
    put(
        body,
        "p",
        "Green: passages of the evidence. Yellow: names of the question. Grey: names that link "
        "passages. Blue lines: the hops of the search. Click a passage for its quotes.",
        "small",
    )
    for node in nodes:
        body.append(_section(node, [one for one in entities if _has(one, node)]))
    return serialised(html)


def _has(entity: SharedEntity, node: _PassageNode) -> bool:
    return node.id in entity.about or node.id in entity.mentioning


def _section(node: _PassageNode, entities: Sequence[SharedEntity]) -> Element:
    section = Element("section", id=node.anchor)
    put(section, "h2", f"{node.number}. {node.title}")
    for item in node.quotes:
        put_quote(section, item, changed=item.id in node.changed)
    if not node.quotes:
        put(section, "p", "The search passed through it; nothing of it is quoted.")
    if node.via is not None:
        origin = f"Reached by the name {node.via.name} from {node.via.title or 'another passage'}."
        put(section, "p", origin)
    if entities:
        names = ", ".join(shortened(one.name, _LABEL) for one in entities)
        put(section, "p", f"Linked by: {names}", "small")
    return section
