"""Tree build without a model, and the choice of the method for some leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.tree.builders.bottom_up import Embed, bottom_up
from hoptrail.rag.tree.builders.requests import Builder, Reply, next_requests
from hoptrail.rag.tree.builders.top_down import top_down
from hoptrail.rag.tree.types import FANOUT, LeafKind, Leaves, Method, Tree, TreeSpec
from hoptrail.rag.types import Vectors

Progress = Callable[[int, int], None]
"""Callback with the number of leaves done, about, and of all leaves."""

_TOGETHER = 0.5
"""The share of leaves in documents of several leaves from which on bottom-up suits better."""
_PASSES = 3
"""About how often a build reads each vector."""


def default_spec(leaves: Leaves, embedder: str, *, over: LeafKind = "passages") -> TreeSpec:
    """The spec of a tree that is built without a model.

    Args:
        leaves: what it is to be built over.
        embedder: whose vectors they have.
        over: what the leaves are.
    """
    return TreeSpec(
        method=choose_method(leaves),
        fanout=FANOUT,
        over=over,
        embedder=embedder,
        dimension=leaves.vectors([]).shape[1],
    )


def choose_method(leaves: Leaves, model: str = "") -> Method:
    """Chooses the build method that suits some leaves.

    Bottom-up keeps the passages of a document together; for independent records a model finds
    better topics from the top down. (LATTICE, Table 4: the wrong one costs 9 to 12 points of
    nDCG@10.) Without a model there are no topics to find.
    """
    if not model:
        return "bottom-up"
    _, sizes = np.unique(leaves.documents(leaves.rows()), return_counts=True)
    together = sizes[sizes > 1].sum()
    return "bottom-up" if together >= _TOGETHER * sizes.sum() else "top-down"


def builder_for(
    spec: TreeSpec, embed: Embed | None = None
) -> Callable[[Leaves, TreeSpec], Builder]:
    """The builder of `spec`'s method; `embed`: embeds the texts that a model writes."""
    match spec.method:
        case "bottom-up":
            return lambda leaves, spec: bottom_up(leaves, spec, embed)
        case "top-down":
            return top_down
        case _:
            assert_never(spec.method)


def build_tree(leaves: Leaves, spec: TreeSpec, on_progress: Progress | None = None) -> Tree:
    """Builds the tree of some leaves with extractive texts, without a model.

    Raises:
        SettingsError: a fan-out that makes the tree too deep.
    """
    read = leaves if on_progress is None else _Counted(leaves, on_progress)
    growing = builder_for(spec)(read, spec)
    replies: tuple[Reply, ...] | None = None
    while True:
        asked = next_requests(growing, replies)
        if isinstance(asked, Tree):
            return asked
        replies = (None,) * len(asked)


class _Counted:
    """Leaves that report how much of them was read, as the progress of a build."""

    def __init__(self, leaves: Leaves, on_progress: Progress) -> None:
        self._leaves = leaves
        self._on_progress = on_progress
        self._total = len(leaves.rows())
        self._vectors = 0
        self._texts = 0

    @property
    def generation(self) -> int:
        """As of `Leaves`."""
        return self._leaves.generation

    def rows(self) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self._leaves.rows()

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """As of `Leaves`."""
        return self._leaves.documents(rows)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """As of `Leaves`."""
        self._vectors += len(rows)
        self._report()
        return self._leaves.vectors(rows)

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """As of `Leaves`."""
        self._texts += len(rows)
        self._report()
        return self._leaves.texts(rows)

    def _report(self) -> None:
        grouped = min(self._vectors // _PASSES, self._total)
        self._on_progress((grouped + min(self._texts, self._total)) // 2, self._total)
