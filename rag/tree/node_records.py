"""Nodes and settings of a tree as they are stored, and the tree that they make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.tree.checksums import Record
from hoptrail.rag.tree.types import NO_PARENT, ROOT, LeafKind, Method, Node, Tree, TreeSpec


def records_of(tree: Tree, numbers: Iterable[int]) -> Iterator[Record]:
    """The nodes of these numbers as stored."""
    for number in numbers:
        node = tree.nodes[number]
        yield (
            number,
            node.text,
            node.count,
            node.changed,
            np.array(node.children, dtype="<i8").tobytes(),
            np.array(node.rows, dtype="<i8").tobytes(),
            tree.totals[number].astype("<f4").tobytes(),
        )


def tree_of(meta: Mapping[str, str | int], records: Iterable[Record]) -> Tree:
    """The tree of a meta table and all nodes.

    Raises:
        StoreDamaged: they contradict each other.
    """
    try:
        tree = _parsed(meta, records)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreDamaged(f"the tree file is inconsistent: {error!r}") from error
    counts: dict[int, int] = {}
    for node in reversed(list(tree.walk())):
        counts[node.number] = len(node.rows) + sum(counts[child] for child in node.children)
    if counts != {number: node.count for number, node in tree.nodes.items()}:
        raise StoreDamaged(
            "the tree file is inconsistent: node counts are wrong, or a node has no parent"
        )
    return tree


def spec_of(meta: Mapping[str, str | int]) -> TreeSpec:
    """How the tree was made. Raises KeyError or ValueError if the table does not say."""
    spec = TreeSpec(**{name: meta[name] for name in TreeSpec.__dataclass_fields__})  # type: ignore[arg-type]
    if spec.method not in get_args(Method) or spec.over not in get_args(LeafKind):
        raise ValueError(f"unknown method {spec.method!r} or leaves {spec.over!r}")
    return spec


def _parsed(meta: Mapping[str, str | int], records: Iterable[Record]) -> Tree:
    spec = spec_of(meta)
    nodes: dict[int, Node] = {}
    totals: dict[int, NDArray[np.float32]] = {}
    parents = {ROOT: NO_PARENT}
    for number, text, count, changed, below, rows, total in records:
        children = _numbers(below)
        if not parents.keys().isdisjoint(children):
            raise ValueError(f"a child of node {number} has another parent")
        parents.update(dict.fromkeys(children, number))
        nodes[number] = Node(
            number=number,
            parent=NO_PARENT,
            text=text,
            children=children,
            rows=_numbers(rows),
            count=count,
            changed=changed,
        )
        totals[number] = np.frombuffer(total, dtype="<f4").reshape(spec.dimension)
    if parents.keys() != nodes.keys():
        raise ValueError("a node is missing, or has no parent")
    return Tree(
        nodes={number: replace(node, parent=parents[number]) for number, node in nodes.items()},
        totals=totals,
        spec=spec,
        reflects=int(meta["reflects"]),
        generation=int(meta["generation"]),
        given=int(meta["given"]),
    )


def _numbers(blob: bytes) -> tuple[int, ...]:
    return tuple(np.frombuffer(blob, dtype="<i8").tolist())
