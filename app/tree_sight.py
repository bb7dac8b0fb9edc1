"""What of a tree is put before eyes: all of a small one, of a large one what was searched first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import NOBODY, ROOT

if TYPE_CHECKING:
    from hoptrail.app.tree_road import Road
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Node, Tree
    from hoptrail.rag.types import Passage

MOST = 2000
"""Nodes and leaves that are shown, beside those that a search came by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A tree, as much of it as is shown, and the search that is drawn into it."""

    tree: Tree
    expanded: frozenset[int]
    """Nodes whose children are shown; the root, and with each node its parent."""
    refs: frozenset[Ref]
    """The root, and all children of those."""
    passages: Mapping[int, Passage]
    """Of the leaves that are shown; one that died meanwhile is not there."""
    road: Road | None = None

    def nodes(self) -> Iterator[Node]:
        """The nodes that are shown, parents before children, children in order."""
        waiting = [ROOT]
        while waiting:
            node = self.tree.nodes[waiting.pop()]
            yield node
            if node.number in self.expanded:
                waiting.extend(reversed(node.children))

    def below(self, node: Node) -> tuple[Ref, ...]:
        """The children that are shown."""
        return children(node) if node.number in self.expanded else ()

    def name(self, ref: Ref) -> str:
        """What a node or leaf is called, on one line."""
        if ref.leaf:
            passage = self.passages.get(ref.number)
            return (
                "a leaf that is gone" if passage is None else passage.title or passage.document_id
            )
        node = self.tree.nodes.get(ref.number)
        return "a node that is gone" if node is None else node.text or "the whole tree"


def children(node: Node) -> tuple[Ref, ...]:
    """What stands right below a node, in order."""
    inner = (Ref(leaf=False, number=one) for one in node.children)
    return (*inner, *(Ref(leaf=True, number=one) for one in node.rows))


def looked_at(tree: Tree, store: Store, road: Road | None = None, most: int = MOST) -> Sight:
    """As much of a tree as can be shown: the ways of the search, then layer by layer."""
    expanded = _expanded(tree, set(_ways(tree, road)), most)
    rows = [row for number in sorted(expanded) for row in tree.nodes[number].rows]
    below = (ref for number in expanded for ref in children(tree.nodes[number]))
    found = zip(rows, store.resolve(rows), strict=True)
    return Sight(
        tree=tree,
        expanded=frozenset(expanded),
        refs=frozenset((Ref(leaf=False, number=ROOT), *below)),
        passages={row: passage for row, passage in found if passage is not None},
        road=road,
    )


def _ways(tree: Tree, road: Road | None) -> Iterator[int]:
    """The nodes that the search opened or the evidence stands under, and all above them."""
    if road is None:
        return
    for opening in road.openings:
        yield from tree.path(opening.node)
    yield from above(tree, (one.row for one in road.proofs))


def above(tree: Tree, rows: Iterable[int]) -> set[int]:
    """The nodes that leaves stand under."""
    wanted = set(rows)
    found: set[int] = set()
    for node in tree.nodes.values():
        if not wanted.isdisjoint(node.rows):
            found.update(tree.path(node.number))
    return found


def _expanded(tree: Tree, ways: set[int], most: int) -> set[int]:
    """The ways, and from the root down what else there is room for."""
    expanded, room = ways | {ROOT}, most
    waiting = deque([ROOT])
    while waiting and room > 0:
        node = tree.nodes[waiting.popleft()]
        if node.number not in expanded:
            room -= len(node.children) + len(node.rows)
        # A node shown in part would look as if it had no more children.
        if node.number in expanded or room >= 0:
            expanded.add(node.number)
            waiting.extend(node.children)
    assert all(tree.nodes[one].parent in expanded | {NOBODY} for one in expanded)
    return expanded
