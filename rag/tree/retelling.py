"""Texts written again where what is below them has changed, without building the tree anew."""

from __future__ import annotations

from itertools import groupby

from hoptrail.rag.tree.asks import Builder, SummaryAsk
from hoptrail.rag.tree.living import retold, stale
from hoptrail.rag.tree.types import Leaves, Tree

_ASKED = 256
"""Nodes whose children's texts are in memory at once."""


def retelling(tree: Tree, leaves: Leaves) -> Builder:
    """Has the stale texts of a tree summed up anew, those below before those above.

    A text that could not be had stays as it is, and stale.

    Args:
        tree: one that has caught up with its leaves.
        leaves: those of the tree.
    """
    deepest_first = sorted(stale(tree), key=lambda number: (-tree.depth(number), number))
    for _, layer in groupby(deepest_first, key=tree.depth):
        numbers = list(layer)
        for at in range(0, len(numbers), _ASKED):
            page = numbers[at : at + _ASKED]
            replies = yield tuple(SummaryAsk(texts=_below(tree, one, leaves)) for one in page)
            told = zip(page, replies, strict=True)
            written = {
                one: reply for one, reply in told if isinstance(reply, str) and reply.strip()
            }
            tree = retold(tree, written).tree
    return tree


def _below(tree: Tree, number: int, leaves: Leaves) -> tuple[str, ...]:
    """The texts of what is right below a node."""
    node = tree.nodes[number]
    if node.rows:
        return leaves.texts(node.rows)
    return tuple(tree.nodes[child].text for child in node.children)
