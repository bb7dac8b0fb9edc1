"""The search of the tree that a receipt tells of: nodes opened, scores, where the evidence stands.

Numbers of a receipt are those of the tree that was searched. Where the tree has become another,
what does not fit any more is left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from hoptrail.app.receipts import changed_quotes
from hoptrail.app.tree_sight import children
from hoptrail.rag.tree.search.types import Ref

if TYPE_CHECKING:
    from hoptrail.agents.receipt import Receipt
    from hoptrail.agents.types import Evidence, SlateRecord
    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Tree

Scores = Mapping[Ref, float | None]
"""0..1, in the order of a slate; None: not scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
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
class Proof:
    """A leaf that quotes of the evidence are from."""

    row: int
    quotes: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """The search of one receipt, as far as it fits the tree."""

    receipt: Receipt
    openings: tuple[Opening, ...]
    proofs: tuple[Proof, ...]
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


def road(receipt: Receipt, tree: Tree, store: Store) -> Road:
    """Reads the search out of a receipt.

    Raises:
        SettingsError: the receipt was made from another store.
    """
    all_openings = list(_openings(receipt))
    openings = [one for one in all_openings if _fits(one, tree)]
    proofs = _proofs(receipt.evidence, tree, store)
    placed = sum(len(one.quotes) for one in proofs)
    return Road(
        receipt=receipt,
        openings=tuple(openings),
        proofs=proofs,
        changed=changed_quotes(receipt, store),
        lost=len(all_openings) - len(openings),
        unplaced=len(receipt.evidence) - placed,
    )


def _openings(receipt: Receipt) -> Iterator[Opening]:
    rounds = [step.slates for step in receipt.steps if step.slates]
    order = count(1)
    for iteration, slates in enumerate(rounds, 1):
        for slate in slates:
            children, anchors = _scores(slate)
            yield Opening(
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


def _fits(opening: Opening, tree: Tree) -> bool:
    node = tree.nodes.get(opening.node)
    return node is not None and opening.children.keys() <= set(children(node))


def _proofs(evidence: Sequence[Evidence], tree: Tree, store: Store) -> tuple[Proof, ...]:
    rows, documents = store.snapshot().places([item.passage_id for item in evidence])
    leaves = rows if tree.spec.over == "passages" else documents
    standing = {row for node in tree.nodes.values() for row in node.rows}
    quotes: dict[int, list[Evidence]] = {}
    for row, item in zip(leaves.tolist(), evidence, strict=True):
        if row in standing:
            quotes.setdefault(row, []).append(item)
    return tuple(Proof(row=row, quotes=tuple(items)) for row, items in quotes.items())
