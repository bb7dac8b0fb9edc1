"""Leaves without a store, and trees over them without a builder, for the tests of trees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import NO_PARENT, ROOT, LeafKind, Leaves, Node, Tree, TreeSpec
from hoptrail.rag.types import Vectors

DIMENSION = 16
TOPICS = (
    ("harbour", "ship", "anchor", "sailor"),
    ("violin", "concert", "melody", "choir"),
    ("glacier", "summit", "avalanche", "climber"),
    ("enzyme", "protein", "cell", "membrane"),
    ("senate", "election", "ballot", "governor"),
    ("orchard", "harvest", "cider", "apple"),
    ("satellite", "orbit", "rocket", "telescope"),
    ("cathedral", "bishop", "abbey", "pilgrim"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SomeLeaves:
    """Leaves in memory; place i of each field belongs to `numbers[i]`."""

    numbers: NDArray[np.int64]
    firsts: NDArray[np.int64]
    points: Vectors
    bodies: tuple[str, ...]
    generation: int = 1

    def rows(self) -> NDArray[np.int64]:
        return self.numbers

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        return self.firsts[self._places(rows)]

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        return self.points[self._places(rows)]

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.bodies[place] for place in self._places(rows).tolist())

    def only(self, rows: Collection[int]) -> SomeLeaves:
        """The next generation, with these rows of it alone."""
        kept = np.isin(self.numbers, sorted(rows))
        return replace(
            self,
            numbers=self.numbers[kept],
            firsts=self.firsts[kept],
            points=self.points[kept],
            bodies=tuple(one for one, keep in zip(self.bodies, kept, strict=True) if keep),
            generation=self.generation + 1,
        )

    def _places(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        wanted = np.asarray(rows, dtype=np.int64)
        places = np.searchsorted(self.numbers, wanted)
        assert np.array_equal(self.numbers[places], wanted), "a row that is not there"
        return places


def bunched(
    count: int,
    *,
    passages: int = 1,
    topics: int = len(TOPICS),
    spread: float = 0.3,
    dimension: int = DIMENSION,
    seed: int = 0,
    first: int = 0,
) -> SomeLeaves:
    """`count` leaves in documents of `passages` each; the i-th document is of topic i % topics.

    Vectors scatter about their topic's direction, texts are of their topic's words.
    """
    random = np.random.default_rng(seed)
    centres = random.normal(size=(topics, dimension))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    documents = np.arange(count, dtype=np.int64) // passages
    about = documents % topics
    points = centres[about] + spread * random.normal(size=(count, dimension)) / dimension**0.5
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return SomeLeaves(
        numbers=np.arange(first, first + count, dtype=np.int64),
        firsts=first + documents * passages,
        points=points.astype(np.float32),
        bodies=tuple(_body(random, at, topic) for at, topic in enumerate(about.tolist())),
    )


def _body(random: np.random.Generator, at: int, topic: int) -> str:
    words = TOPICS[topic % len(TOPICS)]
    chosen = random.choice(len(words), size=3)
    told = " ".join(words[one] for one in chosen)
    return f"Record {at} of the {words[0]}\nThis is what record {at} tells: {told}. It ends here."


def spec(fanout: int = 4, dimension: int = DIMENSION, seed: int = 0) -> TreeSpec:
    return TreeSpec(
        method="bottom-up", fanout=fanout, seed=seed, embedder="test", dimension=dimension
    )


def made(leaves: Leaves, fanout: int = 4) -> Tree:
    """A tree over leaves as they come: runs of `fanout`, layer upon layer; texts are "node 7"."""
    rows = leaves.rows().tolist()
    layer: list[Node] = []
    nodes: dict[int, Node] = {}
    for at in range(0, len(rows), fanout):
        some = tuple(rows[at : at + fanout])
        layer.append(_node(len(nodes) + len(layer) + 1, rows=some, count=len(some)))
    while len(layer) > fanout:
        nodes.update((node.number, node) for node in layer)
        layer = _above(layer, fanout, len(nodes) + 1)
    nodes.update((node.number, node) for node in layer)
    root = _node(ROOT, children=tuple(node.number for node in layer), count=len(rows))
    nodes[ROOT] = replace(root, text="")
    for node in list(nodes.values()):
        for child in node.children:
            nodes[child] = replace(nodes[child], parent=node.number)
    settings = spec(fanout, leaves.vectors([]).shape[1])
    return Tree(
        nodes=nodes,
        totals=_totals(nodes, leaves),
        spec=settings,
        reflects=leaves.generation,
        generation=1,
    )


def plant(
    root: Path,
    over: LeafKind = "passages",
    *,
    fanout: int = 4,
    text: str = "node {}",
    **changes: object,
) -> Tree:
    """Saves a tree of runs of leaves beside a store; `changes` are those of its spec."""
    with Store.open(root) as store:
        tree = made(StoreLeaves(store, over), fanout)
        own = {"embedder": store.spec.embedder, "over": over, **changes}
        nodes = {
            number: replace(node, text=text.format(number) if number else "")
            for number, node in tree.nodes.items()
        }
        spec = replace(tree.spec, **own)  # type: ignore[arg-type]
        return tree_file(root).save(replace(tree, nodes=nodes, spec=spec))


def tree_file(root: Path) -> TreeFile:
    """Where the tree of a store lies."""
    return TreeFile(Layout(root=root, tenant="default"))


def sound(tree: Tree | None, leaves: SomeLeaves) -> bool:
    """Whether there is a tree and it has every invariant over these leaves."""
    return tree is not None and tree_faults(tree, leaves.rows().tolist(), leaves.vectors) == []


def _above(layer: Sequence[Node], fanout: int, first: int) -> list[Node]:
    runs = [layer[at : at + fanout] for at in range(0, len(layer), fanout)]
    return [
        _node(
            first + at,
            children=tuple(node.number for node in run),
            count=sum(node.count for node in run),
        )
        for at, run in enumerate(runs)
    ]


def _node(
    number: int, *, children: tuple[int, ...] = (), rows: tuple[int, ...] = (), count: int
) -> Node:
    return Node(
        number=number,
        parent=NO_PARENT,
        text=f"node {number}",
        children=children,
        rows=rows,
        count=count,
    )


def _totals(nodes: dict[int, Node], leaves: Leaves) -> dict[int, NDArray[np.float32]]:
    totals: dict[int, NDArray[np.float32]] = {}

    def total(number: int) -> NDArray[np.float32]:
        node = nodes[number]
        below = [total(child) for child in node.children] or list(leaves.vectors(node.rows))
        totals[number] = np.sum(below, axis=0, dtype=np.float32) if below else _nothing(leaves)
        return totals[number]

    total(ROOT)
    return totals


def _nothing(leaves: Leaves) -> NDArray[np.float32]:
    return np.zeros(leaves.vectors([]).shape[1], dtype=np.float32)
