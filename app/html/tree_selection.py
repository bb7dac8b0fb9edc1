"""Selection of the nodes of a corpus tree that a page shows, and the search drawn into it.

A small tree is shown whole; of a large one the searched paths first, then layer by layer up to
2,000 nodes and leaves.
"""

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
    from hoptrail.agents.runs.receipt import Receipt
    from hoptrail.agents.types import Evidence, SlateRecord
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Node, Tree
    from hoptrail.rag.types import Passage

MOST = 2000
"""Most nodes and leaves that are shown, besides those on the paths of a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSelection:
    """Shown part of a tree, and the search that is drawn into it."""

    tree: Tree
    expanded: frozenset[int]
    """Nodes whose children are shown; has the root, and with each node its parent."""
    refs: frozenset[Ref]
    """All shown nodes and leaves: the root, and the children of `expanded`."""
    passages: Mapping[int, Passage]
    """Passage by row, of the shown leaves; without those deleted meanwhile."""
    trace: TreeSearchTrace | None = None

    def nodes(self) -> Iterator[Node]:
        """Iterates over the shown nodes, parents before children, children in order."""
        waiting = [ROOT]
        while waiting:
            node = self.tree.nodes[waiting.pop()]
            yield node
            if node.number in self.expanded:
                waiting.extend(reversed(node.children))

    def shown_children(self, node: Node) -> tuple[Ref, ...]:
        """Shown children of a node."""
        return child_refs(node) if node.number in self.expanded else ()

    def name(self, ref: Ref) -> str:
        """Name of a node or leaf, on one line: its text or title."""
        if ref.leaf:
            passage = self.passages.get(ref.number)
            return (
                "a leaf that is gone" if passage is None else passage.title or passage.document_id
            )
        node = self.tree.nodes.get(ref.number)
        return "a node that is gone" if node is None else node.text or "the whole tree"


def child_refs(node: Node) -> tuple[Ref, ...]:
    """References to the children of a node, in order."""
    inner = (Ref(leaf=False, number=one) for one in node.children)
    return (*inner, *(Ref(leaf=True, number=one) for one in node.rows))


def select_nodes(
    tree: Tree, store: Store, trace: TreeSearchTrace | None = None, most: int = MOST
) -> TreeSelection:
    """Selects the nodes to show: the paths of the search, then layer by layer.

    Args:
        tree: the tree.
        store: its store.
        trace: the search to draw; None: none.
        most: nodes and leaves at most, besides those on the paths of the search.
    """
    expanded = _expanded(tree, set(_path_nodes(tree, trace)), most)
    rows = [row for number in sorted(expanded) for row in tree.nodes[number].rows]
    below = (ref for number in expanded for ref in child_refs(tree.nodes[number]))
    found = zip(rows, store.resolve(rows), strict=True)
    return TreeSelection(
        tree=tree,
        expanded=frozenset(expanded),
        refs=frozenset((Ref(leaf=False, number=ROOT), *below)),
        passages={row: passage for row, passage in found if passage is not None},
        trace=trace,
    )


def _path_nodes(tree: Tree, trace: TreeSearchTrace | None) -> Iterator[int]:
    """Nodes that the search opened or that lead to evidence, with all their ancestors."""
    if trace is None:
        return
    for opening in trace.openings:
        yield from tree.path(opening.node)
    yield from ancestors(tree, (one.row for one in trace.evidence_leaves))


def ancestors(tree: Tree, rows: Iterable[int]) -> set[int]:
    """Numbers of all ancestors of leaves."""
    wanted = set(rows)
    found: set[int] = set()
    for node in tree.nodes.values():
        if not wanted.isdisjoint(node.rows):
            found.update(tree.path(node.number))
    return found


def _expanded(tree: Tree, path_nodes: set[int], most: int) -> set[int]:
    """Adds nodes to those on the search paths, layer by layer, as long as there is room."""
    expanded, room = path_nodes | {ROOT}, most
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
"""Score 0..1 by reference, in the order of a slate; None: not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedNode:
    """Node that a search opened, with the scores of its children."""

    order: int
    """Order of opening, from 1, over the whole run."""
    iteration: int
    """Iteration of the search, from 1, over the whole run."""
    node: int
    relevance: float
    """Estimated relevance of the node when it was chosen, 0..1."""
    reserve: bool
    """Whether it was chosen by similarity to the question, not by relevance."""
    children: Scores
    anchors: Scores
    failed: bool
    """Whether no child was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLeaf:
    """Leaf with the evidence quotes from it."""

    row: int
    quotes: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeSearchTrace:
    """Tree search of a receipt, as far as it fits the tree."""

    receipt: Receipt
    openings: tuple[OpenedNode, ...]
    evidence_leaves: tuple[EvidenceLeaf, ...]
    """Leaves that the evidence is from, in the order of the evidence."""
    changed: frozenset[str]
    """Ids of evidence whose quotes the store's documents no longer have."""
    missing_nodes: int
    """Number of opened nodes that the tree no longer has, or has with other children."""
    unplaced_quotes: int
    """Number of quotes from passages that are not in the tree."""

    @property
    def opened(self) -> dict[int, int]:
        """Order of first opening, by node."""
        return {one.node: one.order for one in reversed(self.openings)}

    @property
    def scores(self) -> dict[Ref, float]:
        """Last score of each node and leaf scored as a child, not as an anchor."""
        return {
            ref: score
            for one in self.openings
            for ref, score in one.children.items()
            if score is not None
        }


def search_trace(receipt: Receipt, tree: Tree, store: Store) -> TreeSearchTrace:
    """Reads the tree search from a receipt.

    Raises:
        SettingsError: the receipt was made from another store.
    """
    all_openings = list(_openings(receipt))
    openings = [one for one in all_openings if _fits(one, tree)]
    evidence_leaves = _evidence_leaves(receipt.evidence, tree, store)
    placed = sum(len(one.quotes) for one in evidence_leaves)
    return TreeSearchTrace(
        receipt=receipt,
        openings=tuple(openings),
        evidence_leaves=evidence_leaves,
        changed=changed_quotes(receipt, store),
        missing_nodes=len(all_openings) - len(openings),
        unplaced_quotes=len(receipt.evidence) - placed,
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
                relevance=slate.standing,
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
    return node is not None and opening.children.keys() <= set(child_refs(node))


def _evidence_leaves(
    evidence: Sequence[Evidence], tree: Tree, store: Store
) -> tuple[EvidenceLeaf, ...]:
    rows, documents = store.snapshot().places([item.passage_id for item in evidence])
    leaves = rows if tree.spec.over == "passages" else documents
    in_tree = {row for node in tree.nodes.values() for row in node.rows}
    quotes: dict[int, list[Evidence]] = {}
    for row, item in zip(leaves.tolist(), evidence, strict=True):
        if row in in_tree:
            quotes.setdefault(row, []).append(item)
    return tuple(EvidenceLeaf(row=row, quotes=tuple(items)) for row, items in quotes.items())
