"""The leaves of a store's tree: its passages, or its documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.catalogue.database import expanded
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.types import LeafKind
from hoptrail.rag.types import Vectors

_BLOCK = 8192
"""Passages whose vectors are in memory at once when means of documents are computed."""


class StoreLeaves:
    """The leaves of one generation of a store; texts that were replaced since are empty.

    Over documents a leaf is the first row of one: its vector is the normalised mean of the
    document's passages, its text is the first of them.
    """

    def __init__(self, store: Store, over: LeafKind = "passages") -> None:
        self.over = over
        self._store = store
        # In this order: what is alive in the later snapshot has its right vector there, and
        # what came between the two is younger than `generation` says.
        self._generation, spans = store.spans()
        self._snapshot = store.snapshot()
        alive = np.isin(spans[:, 0], self._snapshot.rows(), assume_unique=True)
        self._spans = spans[alive]

    @property
    def generation(self) -> int:
        """The store's generation that the leaves belong to."""
        return self._generation

    def rows(self) -> NDArray[np.int64]:
        """Rows of all leaves, ascending."""
        if self.over == "documents":
            return self._spans[:, 0].copy()
        return expanded(self._spans)

    def documents(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """(len(rows),): the first row of each one's document."""
        firsts: NDArray[np.int64] = self._spans[:, 0]
        return firsts[np.searchsorted(firsts, rows, side="right") - 1]

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Vectors:
        """(len(rows), dimension) float32, L2-normalised, in their order; rows must be leaves."""
        wanted = np.asarray(rows, dtype=np.int64)
        if self.over == "passages" or not len(wanted):
            return self._snapshot.vectors(wanted)
        counts = self._spans[np.searchsorted(self._spans[:, 0], wanted), 1]
        ends = np.cumsum(counts)
        means = np.empty((len(wanted), self._store.spec.dimension), dtype=np.float32)
        start = 0
        while start < len(wanted):
            before = int(ends[start] - counts[start])
            stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
            spans = np.column_stack((wanted[start:stop], counts[start:stop]))
            vectors = self._snapshot.vectors(expanded(spans))
            firsts = ends[start:stop] - counts[start:stop] - before
            means[start:stop] = np.add.reduceat(vectors, firsts, axis=0)
            start = stop
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means /= np.maximum(lengths, np.finfo(np.float32).tiny)
        return means

    def texts(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        """Title, a line break, text of each row, in order; empty for a removed one."""
        found = self._store.resolve(rows)
        return tuple("" if one is None else f"{one.title}\n{one.text}" for one in found)
