"""What of a tree is put before eyes: all of a small one, of a large one what was searched first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from hoptrail.app.receipts import changed_quotes
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import NO_PARENT, ROOT

if TYPE_CHECKING:
    from hoptrail.agents.receipt import Receipt
    from hoptrail.agents.types import Evidence, SlateRecord
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Node, Tree
    from hoptrail.rag.types import Passage

MOST = 2000
"""Nodes and leaves that are shown, beside those that a search came by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSelection:
    """A tree, as much of it as is shown, and the search that is drawn into it."""

    tree: Tree
    expanded: frozenset[int]
    """Nodes whose children are shown; the root, and with each node its parent."""
    refs: frozenset[Ref]
    """The root, and all children of those."""
    passages: Mapping[int, Passage]
    """Of the leaves that are shown; one that died meanwhile is not there."""
    road: TreeSearchTrace | None = None

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


def looked_at(
    tree: Tree, store: Store, road: TreeSearchTrace | None = None, most: int = MOST
) -> TreeSelection:
    """As much of a tree as can be shown: the ways of the search, then layer by layer."""
    expanded = _expanded(tree, set(_ways(tree, road)), most)
    rows = [row for number in sorted(expanded) for row in tree.nodes[number].rows]
    below = (ref for number in expanded for ref in children(tree.nodes[number]))
    found = zip(rows, store.resolve(rows), strict=True)
    return TreeSelection(
        tree=tree,
        expanded=frozenset(expanded),
        refs=frozenset((Ref(leaf=False, number=ROOT), *below)),
        passages={row: passage for row, passage in found if passage is not None},
        road=road,
    )


def _ways(tree: Tree, road: TreeSearchTrace | None) -> Iterator[int]:
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
    assert all(tree.nodes[one].parent in expanded | {NO_PARENT} for one in expanded)
    return expanded


Scores = Mapping[Ref, float | None]
"""0..1, in the order of a slate; None: not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNode:
    """A node whose children were scored."""

    order: int
    """From 1, over the whole run."""
    iteration: int
    """From 1, over the whole run."""
    node: int
    standing: float
    """0..1: the node's own when it was chosen."""
    reserve: bool
    """It was chosen for its likeness to the question."""
    children: Scores
    anchors: Scores
    failed: bool
    """No child was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLeaf:
    """A leaf that quotes of the evidence are from."""

    row: int
    quotes: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchTrace:
    """The search of one receipt, as far as it fits the tree."""

    receipt: Receipt
    openings: tuple[OpenedNode, ...]
    proofs: tuple[EvidenceLeaf, ...]
    """In the order of the evidence."""
    changed: frozenset[str]
    """Ids of quotes that the store's documents no longer have."""
    lost: int
    """Openings of nodes that the tree does not have any more, or with other children."""
    unplaced: int
    """Quotes of passages that do not stand in the tree."""

    @property
    def opened(self) -> dict[int, int]:
        """Nodes, and as which they were opened first."""
        return {one.node: one.order for one in reversed(self.openings)}

    @property
    def scores(self) -> dict[Ref, float]:
        """The last score of whatever has one; as a child and not as an anchor."""
        return {
            ref: score
            for one in self.openings
            for ref, score in one.children.items()
            if score is not None
        }


def road(receipt: Receipt, tree: Tree, store: Store) -> TreeSearchTrace:
    """Reads the search out of a receipt.

    Raises:
        SettingsError: the receipt was made from another store.
    """
    all_openings = list(_openings(receipt))
    openings = [one for one in all_openings if _fits(one, tree)]
    proofs = _proofs(receipt.evidence, tree, store)
    placed = sum(len(one.quotes) for one in proofs)
    return TreeSearchTrace(
        receipt=receipt,
        openings=tuple(openings),
        proofs=proofs,
        changed=changed_quotes(receipt, store),
        lost=len(all_openings) - len(openings),
        unplaced=len(receipt.evidence) - placed,
    )


def _openings(receipt: Receipt) -> Iterator[OpenedNode]:
    rounds = [step.slates for step in receipt.steps if step.slates]
    order = count(1)
    for iteration, slates in enumerate(rounds, 1):
        for slate in slates:
            children, anchors = _scores(slate)
            yield OpenedNode(
                order=next(order),
                iteration=iteration,
                node=slate.node,
                standing=slate.standing,
                reserve=slate.reserve,
                children=children,
                anchors=anchors,
                failed=slate.failed,
            )


def _scores(slate: SlateRecord) -> tuple[Scores, Scores]:
    scored = [
        (Ref(leaf=slate.leaves, number=number), score)
        for number, score in zip(slate.shown, slate.scores, strict=False)
    ]
    own = len(slate.shown) - slate.anchors
    return dict(scored[:own]), dict(scored[own:])


def _fits(opening: OpenedNode, tree: Tree) -> bool:
    node = tree.nodes.get(opening.node)
    return node is not None and opening.children.keys() <= set(children(node))


def _proofs(evidence: Sequence[Evidence], tree: Tree, store: Store) -> tuple[EvidenceLeaf, ...]:
    rows, documents = store.snapshot().places([item.passage_id for item in evidence])
    leaves = rows if tree.spec.over == "passages" else documents
    standing = {row for node in tree.nodes.values() for row in node.rows}
    quotes: dict[int, list[Evidence]] = {}
    for row, item in zip(leaves.tolist(), evidence, strict=True):
        if row in standing:
            quotes.setdefault(row, []).append(item)
    return tuple(EvidenceLeaf(row=row, quotes=tuple(items)) for row, items in quotes.items())
