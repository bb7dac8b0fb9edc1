"""Bottom-up tree builder: similar leaves become a node, layer upon layer.

The passages of one document stand together, in runs of adjacent ones; documents too small for a
node of their own share one with what is near. Then the nodes of a layer are grouped until they are
few enough to stand below the root: by the mean of their leaves, or, with a model, by the vectors of
the summaries it writes. (LATTICE, arXiv 2510.13217, the agglomerative tree of section 3; there the
clustering is spectral.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.builders.assembly import Branch, assemble_tree, sums_of
from hoptrail.rag.tree.builders.clustering import Places, capped_clusters, packed_clusters
from hoptrail.rag.tree.builders.extractive_text import with_extractive_texts
from hoptrail.rag.tree.builders.requests import Builder, Reply, Request, SummaryRequest
from hoptrail.rag.tree.types import FANOUT, MOST_DEPTH, Leaves, TreeSpec
from hoptrail.rag.types import Vectors

Embed = Callable[[Sequence[str]], Vectors]
"""Texts to unit vectors, (n, dimension) float32."""

_REQUESTED = 256
"""Nodes whose children's texts are in memory at once."""

Row = NDArray[np.int64]


def bottom_up(leaves: Leaves, spec: TreeSpec, embed: Embed | None = None) -> Builder:
    """Builds a tree bottom-up.

    Args:
        leaves: the leaves of the tree.
        spec: settings; without a `model` there are no requests and texts are extractive.
        embed: embeds summaries; None: nodes are grouped by the means of their leaves.

    Raises:
        SettingsError: the tree would be too deep with this fan-out.
    """
    rows = leaves.rows()
    check_room(len(rows), spec.fanout)
    if len(rows) <= spec.fanout:
        return assemble_tree(Branch(rows=tuple(rows.tolist())), leaves, spec)
    layer = _first(leaves, spec)
    while True:
        if spec.model:
            yield from _summarised(layer, leaves, spec, embed)
        if len(layer.branches) <= spec.fanout:
            break
        layer = _next(layer, spec)
    return with_extractive_texts(
        assemble_tree(Branch(branches=tuple(layer.branches)), leaves, spec), leaves
    )


def check_room(count: int, fanout: int) -> None:
    """Raises SettingsError if a tree of so many leaves would be too deep."""
    if fanout < 2:
        raise SettingsError(f"A node needs room for at least 2 children, not {fanout!r}.")
    if count > fanout**MOST_DEPTH:
        raise SettingsError(
            f"{count} leaves do not fit below nodes of at most {fanout!r} children in "
            f"{MOST_DEPTH} layers: give a larger fan-out ({FANOUT} is the default)."
        )


@dataclass(slots=True, kw_only=True)
class _Layer:
    """Nodes at one height of a tree under construction."""

    branches: list[Branch]
    sums: Vectors
    """(nodes, dimension): sums of the unit vectors of the leaves below each."""
    directions: Vectors
    """(nodes, dimension): vectors for the next grouping."""
    room: int
    """Maximum number of nodes of the next layer within the depth limit."""


def _first(leaves: Leaves, spec: TreeSpec) -> _Layer:
    """The layer of the last nodes, right above the leaves."""
    room = spec.fanout ** (MOST_DEPTH - 1)
    rows = leaves.rows()
    nodes = last_nodes(rows, leaves, spec)
    if len(nodes) > room:
        full = packed_clusters(_rows_of(leaves, rows), len(rows), spec.fanout, seed=spec.seed)
        nodes = [rows[group] for group in full]
    sums = sums_of(nodes, leaves, spec.dimension)
    branches = [Branch(rows=tuple(node.tolist())) for node in nodes]
    return _Layer(branches=branches, sums=sums, directions=sums, room=room // spec.fanout)


def last_nodes(rows: Row, leaves: Leaves, spec: TreeSpec) -> list[Row]:
    """Groups of leaves for the nodes right above them: ascending rows, `spec.fanout` at most.

    The runs of each document, where those that fill less than half a node share one with near ones.

    Args:
        rows: of the leaves to group, ascending.
        leaves: where their vectors are.
        spec: of the tree.
    """
    whole: list[Row] = []
    small: list[Row] = []
    for run in _runs(rows, leaves, spec.fanout):
        (whole if 2 * len(run) > spec.fanout else small).append(run)
    if sum(map(len, small)) == 1:  # it would stand alone in its node
        whole, small = [], [*whole, *small]
    groups = capped_clusters(
        lambda places: sums_of([small[at] for at in places.tolist()], leaves, spec.dimension),
        len(small),
        spec.fanout,
        weights=np.fromiter(map(len, small), dtype=np.int64, count=len(small)),
        seed=spec.seed,
    )
    shared = [np.concatenate([small[at] for at in group.tolist()]) for group in groups]
    return sorted(whole + shared, key=lambda rows: int(rows[0]))


def _runs(rows: Row, leaves: Leaves, fanout: int) -> Iterator[Row]:
    """Adjacent passages of one document each, in runs of nearly equal length."""
    starts = np.flatnonzero(np.diff(leaves.documents(rows), prepend=-1))
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        yield from np.array_split(rows[start:stop], math.ceil((stop - start) / fanout))


def _next(layer: _Layer, spec: TreeSpec) -> _Layer:
    """The layer above."""
    count = len(layer.branches)
    groups = capped_clusters(layer.directions.__getitem__, count, spec.fanout, seed=spec.seed)
    if len(groups) > layer.room:
        groups = packed_clusters(layer.directions.__getitem__, count, spec.fanout, seed=spec.seed)
    sums = np.array([layer.sums[group].sum(axis=0) for group in groups])
    return _Layer(
        branches=[_above([layer.branches[at] for at in group.tolist()]) for group in groups],
        sums=sums,
        directions=sums,
        room=layer.room // spec.fanout,
    )


def _above(branches: Sequence[Branch]) -> Branch:
    """A node over others; a single one is returned as it is."""
    return branches[0] if len(branches) == 1 else Branch(branches=tuple(branches))


def _summarised(
    layer: _Layer, leaves: Leaves, spec: TreeSpec, embed: Embed | None
) -> Generator[tuple[Request, ...], tuple[Reply, ...], None]:
    """Requests the texts of a layer, and embeds them."""
    for at in range(0, len(layer.branches), _REQUESTED):
        some = [one for one in layer.branches[at : at + _REQUESTED] if not one.text]
        asks = tuple(SummaryRequest(texts=_below(branch, leaves)) for branch in some)
        replies = iter((yield asks) if asks else ())
        for place, branch in enumerate(layer.branches[at : at + _REQUESTED], start=at):
            if not branch.text:
                layer.branches[place] = replace(branch, text=_text(next(replies)))
    layer.branches = _with_texts(layer.branches, leaves, spec)
    if embed is not None:
        layer.directions = embed([branch.text for branch in layer.branches])


def _with_texts(branches: Sequence[Branch], leaves: Leaves, spec: TreeSpec) -> list[Branch]:
    """The nodes of a layer, with extractive texts where a text is missing.

    They have no siblings yet: their neighbours stand in for them.
    """
    if all(branch.text for branch in branches):
        return list(branches)
    starts = range(0, len(branches), spec.fanout)
    runs = tuple(
        Branch(text="neighbours", branches=tuple(branches[at : at + spec.fanout])) for at in starts
    )
    tree = with_extractive_texts(assemble_tree(Branch(branches=runs), leaves, spec), leaves)
    first = 1 + len(runs)
    return [
        replace(branch, text=branch.text or tree.nodes[first + place].text)
        for place, branch in enumerate(branches)
    ]


def _text(reply: Reply) -> str:
    return reply.strip() if isinstance(reply, str) else ""


def _below(branch: Branch, leaves: Leaves) -> tuple[str, ...]:
    """The texts of the children or leaves of a node."""
    if branch.rows:
        return leaves.texts(branch.rows)
    return tuple(one.text for one in branch.branches)


def _rows_of(leaves: Leaves, rows: Row) -> Callable[[Places], Vectors]:
    return lambda places: leaves.vectors(rows[places])
