"""Text and JSON form of a corpus tree for the terminal: its settings, and the nodes below one."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree as RichTree

from hoptrail.app.text import indented, one_line, plural, shortened
from hoptrail.rag.tree.types import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hoptrail.rag.store.store import Store
    from hoptrail.rag.tree.types import Node, Tree
    from hoptrail.rag.types import Passage

_WIDTH = 96
_TITLE = 60


def outline(tree: Tree, store: Store, start: int, depth: int) -> str:
    """Text outline of a node: `depth` layers below it, a line for each node or leaf."""
    node = tree.nodes[start]
    passages = _passages(_nodes(tree, start, depth - 1), store)
    top = RichTree("", hide_root=True)
    _add_children(top, node, depth, tree, passages)
    screen = io.StringIO()
    # Not the terminal's own: lines are cut at the width that all output has.
    console = Console(file=screen, width=_WIDTH, force_terminal=False, emoji=False)
    console.print(top)
    lines = [line.rstrip() for line in screen.getvalue().rstrip("\n").split("\n")]
    return "\n".join([*map(one_line, _heading(tree, node)), *lines])


def record(tree: Tree, store: Store, start: int, depth: int) -> dict[str, Any]:
    """JSON object of the same nodes, with full texts and lists."""
    nodes = _nodes(tree, start, depth)
    passages = _passages(nodes, store)
    return {
        **asdict(tree.spec),
        "generation": tree.generation,
        "reflects": tree.reflects,
        "leaves": tree.nodes[ROOT].count,
        "inner_nodes": len(tree.nodes),
        "nodes": [
            {
                "number": node.number,
                "parent": None if node.number == ROOT else node.parent,
                "depth": tree.depth(node.number),
                "text": node.text,
                "count": node.count,
                "changed": node.changed,
                "children": list(node.children),
                "leaves": [_leaf(row, passages.get(row)) for row in node.rows],
            }
            for node in nodes
        ],
    }


def _leaf(row: int, passage: Passage | None) -> dict[str, object]:
    if passage is None:
        return {"row": row, "document_id": None, "passage_id": None, "title": None}
    return {
        "row": row,
        "document_id": passage.document_id,
        "passage_id": passage.id,
        "title": passage.title,
    }


def _heading(tree: Tree, node: Node) -> Iterator[str]:
    """Heading of an outline: of the whole tree, or a node with its ancestors and its text."""
    if node.number == ROOT:
        what = "passage" if tree.spec.over == "passages" else "document"
        yield (
            f"{plural(node.count, what)} below {plural(len(tree.nodes), 'node')}: "
            f"{tree.spec.method}, at most {tree.spec.fanout} children each, "
            + (f"texts by {tree.spec.model}" if tree.spec.model else "built without a model")
        )
        return
    for number in tree.path(node.number)[1:-1]:
        yield shortened(f"in {number}: {tree.nodes[number].text}", _WIDTH)
    yield from indented(f"{node.number}: {node.text}", "")
    changes = f", {node.changed:,} came or went since it was written" if node.changed else ""
    yield f"{plural(node.count, 'leaf', 'leaves')}{changes}"


def _add_children(
    branch: RichTree, node: Node, depth: int, tree: Tree, passages: Mapping[int, Passage]
) -> None:
    """Adds the children of a node to its branch, recursively."""
    if depth == 0:
        return
    for number in node.children:
        child = tree.nodes[number]
        line = f"{number}: ({child.count:,}) {shortened(child.text, 2 * _WIDTH)}"
        _add_children(branch.add(_line(line)), child, depth - 1, tree, passages)
    for row in node.rows:
        passage = passages.get(row)
        if passage is None:
            branch.add(_line("a passage that is gone"))
            continue
        title = shortened(passage.title or passage.document_id, _TITLE)
        branch.add(_line(f"{title}  ({passage.document_id} {passage.start}:{passage.end})"))


def _line(text: str) -> Text:
    return Text(one_line(text), no_wrap=True, overflow="ellipsis")


def _nodes(tree: Tree, start: int, depth: int) -> list[Node]:
    """A node and its descendants at most `depth` layers below it."""
    deepest = tree.depth(start) + depth
    return [node for node in tree.walk(start) if tree.depth(node.number) <= deepest]


def _passages(nodes: Sequence[Node], store: Store) -> dict[int, Passage]:
    """Passages of the nodes' leaves by row, without those deleted meanwhile."""
    rows = [row for node in nodes for row in node.rows]
    found = zip(rows, store.resolve(rows), strict=True)
    return {row: passage for row, passage in found if passage is not None}
