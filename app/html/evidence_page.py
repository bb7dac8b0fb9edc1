"""An answer's evidence as one HTML page: the passages, the names that link them, the quotes.

The page is as `pages` makes them: it loads nothing and runs no script.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

from hoptrail.app.html.graph_svg import Box, Kind, Line, rules, svg
from hoptrail.app.html.page import blank, put, put_answer, put_quote, serialised
from hoptrail.app.receipts import changed_quotes
from hoptrail.app.text import plural, shortened
from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.passage_graph.shared_entities import SharedEntity, shared_entities

if TYPE_CHECKING:
    from hoptrail.agents.receipt import Receipt
    from hoptrail.agents.types import Evidence
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.types import Passage, Via

_HINT, _LABEL = 600, 80
"""Characters of what is shown at a box, and of a name in a list."""
_STYLE = """
svg text{text-anchor:middle;fill:#111}
rect{stroke:#555;stroke-width:1}
a:hover rect,g:hover rect{stroke-width:2.5}
.question rect{fill:#ffe8cc}.asked rect{fill:#fff3bf}.name rect{fill:#f1f3f5}
.evidence rect{fill:#d3f9d8}.passed rect{fill:#e7f5ff;stroke-dasharray:4 3}
path{fill:none;stroke:#999;stroke-width:1}
path.road{stroke:#1971c2;stroke-width:2.5}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What was drawn."""

    html: str
    passages: int
    names: int
    """Those that link passages, or stand in the question and in one."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    """A passage on the picture."""

    id: str
    number: int
    title: str
    quotes: tuple[Evidence, ...]
    """Empty: a search only passed through it."""
    changed: frozenset[str]
    """Ids of the quotes that the store's document no longer has."""
    via: Via | None

    @property
    def anchor(self) -> str:
        """The id of its part of the page."""
        return f"s{self.number}"


def evidence_page(receipt: Receipt, store: Store) -> Page:
    """Draws the evidence of a receipt and what links it in the store's graph.

    Raises:
        SettingsError: the receipt has no evidence, or was made from another store.
        BackendRefused: the store has no passage graph.
    """
    if not receipt.evidence:
        raise SettingsError(
            "The receipt has no evidence, so there is nothing to draw: the question was not "
            "answered from any passage."
        )
    stops = _stops(receipt, store)
    found = _with_roads(shared_entities(store, [one.id for one in stops], receipt.question), stops)
    boxes, lines = _graph(receipt.question, stops, found)
    changed = sum(len(one.changed) for one in stops)
    warning = f"{plural(changed, 'quote')} no longer in the store: marked red on the page"
    return Page(
        html=_html(receipt, stops, found, boxes, lines),
        passages=len(stops),
        names=len(found),
        warnings=(warning,) if changed else (),
    )


def _stops(receipt: Receipt, store: Store) -> list[_Stop]:
    """The passages of the evidence, best first, then those that a search only passed through."""
    quotes: dict[str, list[Evidence]] = {}
    for item in receipt.evidence:
        quotes.setdefault(item.passage_id, []).append(item)
    vias: dict[str, Via | None] = {item.passage_id: item.via for item in receipt.evidence}
    sources = {via.passage_id: via.title for via in vias.values() if via is not None}
    changed = changed_quotes(receipt, store)
    ids = list(dict.fromkeys([*quotes, *sources]))
    return [
        _Stop(
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
    """What to call a passage, in the store or out of it."""
    if quotes:
        return quotes[0].title or quotes[0].document_id
    return known or (passage.document_id if passage is not None else "a passage that is gone")


def _with_roads(found: list[SharedEntity], stops: Sequence[_Stop]) -> list[SharedEntity]:
    """The bonds, with both ends of every road among their passages."""
    by_key = {entity_key(one.name): one for one in found}
    for stop in stops:
        if stop.via is None:
            continue
        key = entity_key(stop.via.name)
        bond = by_key.get(
            key, SharedEntity(name=stop.via.name, asked=False, about=(), mentioning=())
        )
        more = {stop.id, stop.via.passage_id} - {*bond.about, *bond.mentioning}
        by_key[key] = replace(bond, mentioning=(*bond.mentioning, *sorted(more)))
    return list(by_key.values())


def _graph(
    question: str, stops: Sequence[_Stop], found: Sequence[SharedEntity]
) -> tuple[list[Box], list[Line]]:
    boxes = [Box(id="q", kind="question", label="the question", hint=question)]
    lines: list[Line] = []
    roads = {
        (entity_key(one.via.name), end)
        for one in stops
        if one.via is not None
        for end in (one.id, one.via.passage_id)
    }
    for number, bond in enumerate(found, 1):
        kind: Kind = "asked" if bond.asked else "name"
        boxes.append(Box(id=f"n{number}", kind=kind, label=bond.name, hint=bond.name))
        if bond.asked:
            lines.append(Line(source="q", target=f"n{number}"))
    for stop in stops:
        boxes.append(_passage_box(stop))
        for number, bond in enumerate(found, 1):
            if stop.id in {*bond.about, *bond.mentioning}:
                road = (entity_key(bond.name), stop.id) in roads
                lines.append(Line(source=f"n{number}", target=f"p{stop.number}", road=road))
    return boxes, [*lines, *_direct(stops, lines)]


def _passage_box(stop: _Stop) -> Box:
    quotes = "\n\n".join(one.quote for one in stop.quotes)
    return Box(
        id=f"p{stop.number}",
        kind="evidence" if stop.quotes else "passed",
        label=f"{stop.number}. {stop.title}",
        hint=f"{stop.title}\n{shortened(quotes, _HINT)}",
        target=stop.anchor,
    )


def _direct(stops: Sequence[_Stop], lines: Sequence[Line]) -> list[Line]:
    """Lines from the question to passages that it found by its words, so that all are linked."""
    direct: list[Line] = []
    # Those that a hop led to come last: their road may link them already.
    for stop in sorted(stops, key=lambda one: (one.via is not None, one.number)):
        if f"p{stop.number}" not in _reached([*lines, *direct]):
            direct.append(Line(source="q", target=f"p{stop.number}", weight=2))
    reached = _reached([*lines, *direct])
    assert all(f"p{stop.number}" in reached for stop in stops)
    return direct


def _reached(lines: Sequence[Line]) -> set[str]:
    """What is linked to the question."""
    reached = {"q"}
    while (
        more := {
            end
            for line in lines
            if (line.source in reached) != (line.target in reached)
            for end in (line.source, line.target)
        }
        - reached
    ):
        reached |= more
    return reached


def _html(
    receipt: Receipt,
    stops: Sequence[_Stop],
    found: Sequence[SharedEntity],
    boxes: Sequence[Box],
    lines: Sequence[Line],
) -> str:
    html, body = blank(receipt.question, _STYLE + rules(boxes))
    put_answer(body, receipt)
    SubElement(body, "div", {"class": "scroll"}).append(svg(boxes, lines))
    put(
        body,
        "p",
        "Green: passages of the evidence. Yellow: names of the question. Grey: names that link "
        "passages. Blue lines: the hops of the search. Click a passage for its quotes.",
        "small",
    )
    for stop in stops:
        body.append(_section(stop, [one for one in found if _has(one, stop)]))
    return serialised(html)


def _has(bond: SharedEntity, stop: _Stop) -> bool:
    return stop.id in bond.about or stop.id in bond.mentioning


def _section(stop: _Stop, found: Sequence[SharedEntity]) -> Element:
    section = Element("section", id=stop.anchor)
    put(section, "h2", f"{stop.number}. {stop.title}")
    for item in stop.quotes:
        put_quote(section, item, changed=item.id in stop.changed)
    if not stop.quotes:
        put(section, "p", "The search passed through it; nothing of it is quoted.")
    if stop.via is not None:
        said = f"Reached by the name {stop.via.name} from {stop.via.title or 'another passage'}."
        put(section, "p", said)
    if found:
        names = ", ".join(shortened(one.name, _LABEL) for one in found)
        put(section, "p", f"Linked by: {names}", "small")
    return section
