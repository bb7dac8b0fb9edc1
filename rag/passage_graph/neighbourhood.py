"""Neighbourhood of a name or of passages in the passage graph, and its text for a prompt.

The k-hop ego graphs of GRAG (arXiv 2405.16506) without their trained parts: the graph around the
centre is cut by a hard limit (`neighbourhood_builder`) and written as its text view, the
breadth-first tree as an indented outline, then the links that are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.passage_graph.neighbourhood_builder import (
    ABOUT,
    MENTIONS,
    Link,
    Neighbourhood,
    NeighbourhoodBuilder,
    NeighbourhoodLimits,
    Node,
    Place,
    line,
)
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import EVERYTHING, Rows, Where

DEFAULT_BOUNDS = NeighbourhoodLimits()

_DIGITS = 6

_REACHED = {ABOUT: "about it: ", MENTIONS: "mentioned in: "}

Vector = NDArray[np.float32]


def neighbourhood(
    store: Store,
    name: str,
    *,
    vector: Vector | None = None,
    where: Where = EVERYTHING,
    bounds: NeighbourhoodLimits = DEFAULT_BOUNDS,
) -> Neighbourhood:
    """The neighbourhood of a name.

    Args:
        store: one with a passage graph.
        name: in any case, with or without accents.
        vector: (dimension,) float32, L2-normalised: the most similar neighbours are kept. None:
            those that are about a name are kept, then the rarest.
        where: metadata filter.
        bounds: limits of hops, links and nodes.

    Raises:
        SettingsError: the name has no word in it, or a filter value that is no scalar.
        BackendRefused: the store has no passage graph.
    """
    key = entity_key(name)
    if not key:
        raise SettingsError(f"The name {name!r} is empty: give a word or more.")
    with _builder(store, vector, where, bounds) as builder:
        if not builder.known(key):
            return Neighbourhood(nodes=(), links=(), left_out=0)
        builder.surfaces[key] = name.strip()
        return builder.build([Place(key, is_row=False)])


def neighbourhood_of_passages(
    store: Store,
    ids: Sequence[str],
    *,
    vector: Vector | None = None,
    where: Where = EVERYTHING,
    bounds: NeighbourhoodLimits = DEFAULT_BOUNDS,
) -> Neighbourhood:
    """The neighbourhood of passages, each a part of the centre; unknown ones are left out.

    Arguments and errors are those of `neighbourhood`.
    """
    with _builder(store, vector, where, bounds) as builder:
        rows = [row for row in dict.fromkeys(builder.links.rows(ids).tolist()) if row >= 0]
        return builder.build([Place(row, is_row=True) for row in rows])


@contextmanager
def _builder(
    store: Store, vector: Vector | None, where: Where, bounds: NeighbourhoodLimits
) -> Iterator[NeighbourhoodBuilder]:
    snapshot = store.snapshot()

    def near(rows: Rows) -> NDArray[np.float64]:
        assert vector is not None
        cosines = snapshot.vectors(rows).astype(np.float64) @ vector.astype(np.float64)
        # The last digits of a product depend on where rows lie.
        rounded: NDArray[np.float64] = np.round(cosines, _DIGITS)
        return rounded

    with snapshot.graph(where) as links:
        yield NeighbourhoodBuilder(links, store.resolve, None if vector is None else near, bounds)


def neighbourhood_text(ego: Neighbourhood, *, excerpt: int = 160) -> str:
    """The text view of a neighbourhood, for a prompt or a terminal.

    Args:
        ego: what is written; without nodes the text is empty.
        excerpt: characters of each passage that are shown, from where it has the name that led to
            it; 0: titles only.

    Returns:
        An outline, `1.`, `1.1.`, `1.1.2.`, indented by level; then the other links. Each node is
        one line, whatever its text holds.
    """
    joining: dict[tuple[int, int], Link] = {}
    for link in ego.links:
        for pair in ((link.source, link.target), (link.target, link.source)):
            joining.setdefault(pair, link)
    tree = {
        number: joining[node.parent, number]
        for number, node in enumerate(ego.nodes)
        if node.parent is not None
    }
    lines = [
        f"{'  ' * ego.nodes[number].level}{outline} {_node(ego, number, tree, excerpt)}"
        for number, outline in _outline(ego)
    ]
    others = [link for link in ego.links if link not in set(tree.values())]
    if others:
        lines.append("Other links:")
        lines += [f"- {_link(ego, link)}" for link in others]
    return "\n".join(lines)


def _outline(ego: Neighbourhood) -> Iterator[tuple[int, str]]:
    """Nodes in depth-first order with their outline numbers."""
    children: dict[int | None, list[int]] = {}
    for number, node in enumerate(ego.nodes):
        children.setdefault(node.parent, []).append(number)
    waiting: list[tuple[int | None, str]] = [(None, "")]
    while waiting:
        parent, prefix = waiting.pop()
        if parent is not None:
            yield parent, prefix
        found = enumerate(children.get(parent, ()), 1)
        waiting += [(number, f"{prefix}{place}.") for place, number in found][::-1]


def _node(ego: Neighbourhood, number: int, tree: Mapping[int, Link], excerpt: int) -> str:
    """The line of a node: the link to it, its label, the beginning of its text."""
    node, link = ego.nodes[number], tree.get(number)
    if node.passage is not None:
        how = "" if link is None else _REACHED[link.relation]
        name = "" if node.parent is None else ego.nodes[node.parent].label
        return f"{how}{_named(node)}{_excerpt(node.passage.text, name, excerpt)}"
    if link is None:
        return node.label
    return f"{link.relation} {node.label}" if _from_passage(ego, link) else _link(ego, link)


def _link(ego: Neighbourhood, link: Link) -> str:
    source, target = ego.nodes[link.source], ego.nodes[link.target]
    if _from_passage(ego, link):
        return f"{_named(source)} {link.relation} {target.label}"
    return f"{source.label} | {link.relation} | {target.label}"


def _from_passage(ego: Neighbourhood, link: Link) -> bool:
    return ego.nodes[link.source].passage is not None


def _named(node: Node) -> str:
    return node.label if node.passage is None else f"“{node.label}”"


def _excerpt(passage: str, name: str, most: int) -> str:
    """`: ` and `most` characters of a passage, from a little before the name."""
    whole = line(passage)
    if not most or not whole:
        return ""
    at = whole.casefold().find(name.casefold())
    first = 0
    if at >= 0 and at + len(name) >= most:
        first = max(0, at - most // 4)
        space = whole.rfind(" ", max(0, first - most // 4), first)
        first = space + 1 if space >= 0 else first
    cut = whole[first : first + most]
    return f": {'…' if first else ''}{cut.rstrip()}{'…' if first + most < len(whole) else ''}"
