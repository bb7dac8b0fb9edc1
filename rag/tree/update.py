"""Keeps a tree true to its store: leaves come and go, and nothing is built anew.

A new leaf descends by centroid, many branches at a time, to the last node nearest to it. Where a
node becomes overfull, what is below it and its siblings is grouped anew, as a fresh build would do
it, and most groups are nodes that were there (where leaves were sorted by topics, it is split by
2-means instead); so are those above while they are overfull, and when the root is, the tree grows
by a layer. A node with few leaves left gives them to others, one without any disappears, and one
with a single child takes over what is below that. Where a branch becomes too deep, the layers
between it and its last nodes are built anew. (After the insertions of B*- and R-trees.) The text of
a node is written again once a fifth of its leaves have changed.

Where nodes were split instead, or gave a child to a sibling, a tree of MuSiQue of which 30 % came
later found 2 of 100 supporting passages less (means of four and of three trees).

Sums are taken anew from what is below wherever something changed, so no rounding adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.builders.extractive_text import extractive_texts
from hoptrail.rag.tree.builders.requests import Builder, SummaryRequest
from hoptrail.rag.tree.mutable_tree import MutableTree
from hoptrail.rag.tree.types import ROOT, Leaves, Tree, TreeChange

Tell = Callable[[Tree, Sequence[int], Leaves], Mapping[int, str]]
"""Writes texts without a model: of the nodes by number."""

STALE = 0.2
"""The share of a node's leaves that may have changed before its text is written again."""
_BLOCK = 4096


def sync_tree(tree: Tree, leaves: Leaves, tell: Tell = extractive_texts) -> TreeChange:
    """The tree with exactly the given leaves.

    Args:
        tree: of any earlier state of the same store.
        leaves: what is to stand in it.
        tell: writes the texts of nodes that are new, and, in a tree that no model wrote, of those
            that are stale.

    Returns:
        The new tree, of the next generation; the same one if no leaf came or went.
    """
    rows, held = leaves.rows(), _held(tree)
    new, gone = rows[~np.isin(rows, held)], held[~np.isin(held, rows)]
    if not len(new) and not len(gone):
        same = replace(tree, reflects=leaves.generation)
        return TreeChange(tree=same, before=tree.generation, touched=frozenset(), gone=frozenset())
    draft = MutableTree(tree, leaves)
    coming = np.union1d(new, draft.remove(gone))
    for at in range(0, len(coming), _BLOCK):
        some = coming[at : at + _BLOCK]
        for row, vector in zip(some.tolist(), leaves.vectors(some), strict=True):
            draft.insert(row, vector)
    after, touched = draft.done(), draft.touched
    # What a model wrote stays until one writes it again; that is for `stale` to say.
    written = bool(tree.spec.model)
    wanted = draft.untold if written else {*draft.untold, *stale_nodes(after)}
    nodes = dict(after.nodes)
    for number, text in tell(after, sorted(wanted), leaves).items():
        changed = nodes[number].count if written else 0
        nodes[number] = replace(nodes[number], text=text, changed=changed)
    return TreeChange(
        tree=replace(after, nodes=nodes),
        before=tree.generation,
        touched=frozenset(touched | wanted),
        gone=frozenset(tree.nodes.keys() - nodes.keys()),
    )


def stale_nodes(tree: Tree) -> tuple[int, ...]:
    """The nodes whose text no longer says what is below them, those below before those above."""
    found = [
        node.number
        for node in tree.walk()
        if node.number != ROOT and node.changed > STALE * node.count
    ]
    return tuple(reversed(found))


def with_texts(tree: Tree, written: Mapping[int, str]) -> TreeChange:
    """The tree with other texts, which are of now."""
    nodes = dict(tree.nodes)
    for number, text in written.items():
        nodes[number] = replace(nodes[number], text=text, changed=0)
    return TreeChange(
        tree=replace(tree, nodes=nodes, generation=tree.generation + bool(written)),
        before=tree.generation,
        touched=frozenset(written),
        gone=frozenset(),
    )


def _held(tree: Tree) -> NDArray[np.int64]:
    rows = [row for node in tree.nodes.values() for row in node.rows]
    return np.array(rows, dtype=np.int64)


_ASKED = 256
"""Nodes whose children's texts are in memory at once."""


def resummarize(tree: Tree, leaves: Leaves) -> Builder:
    """Has the stale texts of a tree summed up anew, those below before those above.

    A text that could not be had stays as it is, and stale.

    Args:
        tree: one that has caught up with its leaves.
        leaves: those of the tree.
    """
    deepest_first = sorted(stale_nodes(tree), key=lambda number: (-tree.depth(number), number))
    for _, layer in groupby(deepest_first, key=tree.depth):
        numbers = list(layer)
        for at in range(0, len(numbers), _ASKED):
            page = numbers[at : at + _ASKED]
            replies = yield tuple(SummaryRequest(texts=_below(tree, one, leaves)) for one in page)
            told = zip(page, replies, strict=True)
            written = {
                one: reply for one, reply in told if isinstance(reply, str) and reply.strip()
            }
            tree = with_texts(tree, written).tree
    return tree


def _below(tree: Tree, number: int, leaves: Leaves) -> tuple[str, ...]:
    """The texts of what is right below a node."""
    node = tree.nodes[number]
    if node.rows:
        return leaves.texts(node.rows)
    return tuple(tree.nodes[child].text for child in node.children)
