"""Exact dense index: brute-force scan of all live vectors in a memory-mapped file."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.indexes.base import Capabilities
from hoptrail.rag.store.indexes.vector_file import (
    SlotFile,
    SlotMap,
    exact_scores,
    near_best,
    one_thread,
)
from hoptrail.rag.store.types import Generation, IndexBatch, RowFilter, ranked
from hoptrail.rag.types import Candidates, Rows

TRAITS = Capabilities(multi_process=True, persistent=True, filters_before_ranking=True)

_SMALL = 8192
_GATHER_BELOW = 8
"""If a filter keeps less than one row in this many, its rows are gathered; else all are scanned."""


class ExactIndex:
    """One generation of the vector file."""

    traits = TRAITS

    def __init__(self, vectors: NDArray[np.float32], slots: SlotMap, state: Generation) -> None:
        self._vectors = vectors[: slots.size(len(state.live))]
        self._slots = slots
        self._dead = slots.dead(state.live)

    def search(self, vector: NDArray[np.float32], k: int, scope: RowFilter) -> Candidates:
        """The k best rows by inner product."""
        if scope.facets:
            slots, scores = self._among(self._slots.slots(scope.rows()), vector, k)
        else:
            slots = near_best(self._scan(vector), k)
            scores = exact_scores(self._vectors, slots, vector)
        return ranked(self._slots.rows(slots), scores, k, scope.ties)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The rows' vectors, in their order."""
        return self._vectors.take(self._slots.slots(rows), axis=0)

    def _scan(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._vectors @ vector
        if len(self._dead):
            scores[self._dead] = -np.inf
        return scores

    def _among(
        self, slots: Rows, vector: NDArray[np.float32], k: int
    ) -> tuple[Rows, NDArray[np.float32]]:
        if len(slots) * _GATHER_BELOW < len(self._vectors):
            some = self._vectors.take(slots, axis=0)
            near = near_best(some @ vector, k)
            return slots[near], exact_scores(some, near, vector)
        near = slots[near_best(self._scan(vector)[slots], k)]
        return near, exact_scores(self._vectors, near, vector)


class ExactBackend:
    """Keeps the vector files of a tenant; each build has a file and a map of its own."""

    traits = TRAITS
    deferred = False

    def __init__(self, folder: Path, dimension: int) -> None:
        self._folder = folder
        self._dimension = dimension
        self._open: _Mapped | None = None
        one_thread()

    def admit(self, passages: int) -> None:
        """Accepts any number of passages."""

    def lag(self, state: Generation) -> str | None:
        """The reason why the file does not reflect the state; None if it does."""
        try:
            needed = self._map(state.dense_epoch).size(len(state.live))
        except (OSError, ValueError) as error:
            return f"the map of the vector file cannot be read ({error})"
        room = self._file(state.dense_epoch).capacity()
        if room < needed:
            return f"the vector file has room for {room} of {needed} rows"
        return None

    @contextmanager
    def write(self, epoch: int, batch: IndexBatch) -> Iterator[None]:
        """Writes the vectors with fdatasync, at the start of the block."""
        self._put(epoch, batch)
        yield

    def settle(self, writer: Connection) -> None:
        """Does nothing after the commit."""

    def reading(self, state: Generation) -> ExactIndex:
        """The index of a generation."""
        mapped = self._open
        slots = self._map(state.dense_epoch)
        if (
            mapped is None
            or mapped.epoch != state.dense_epoch
            or len(mapped.vectors) < slots.size(len(state.live))
        ):
            vectors = self._file(state.dense_epoch).map()
            mapped = _Mapped(epoch=state.dense_epoch, vectors=vectors, slots=slots)
            self._open = mapped
        return ExactIndex(mapped.vectors, slots, state)

    def build(self, epoch: int, batches: Iterable[IndexBatch], state: Generation) -> None:
        """Writes a new file of all live rows without gaps."""
        self._file(epoch).path.unlink(missing_ok=True)
        SlotMap.save(self._map_path(epoch), state.live)
        for batch in batches:
            self._put(epoch, batch)

    def audit(self, state: Generation) -> Iterator[tuple[int, int]]:
        """(row, CRC-32 of its vector) of every live row that the file has."""
        vectors = self._file(state.dense_epoch).map()
        rows = np.flatnonzero(state.live)
        slots = self._map(state.dense_epoch).slots(rows)
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            if slot < len(vectors):
                yield row, zlib.crc32(vectors[slot].tobytes())

    def seal(self, epoch: int) -> int | None:
        """CRC-32 of the map between slots and rows; None where it is the identity."""
        path = self._map_path(epoch)
        return zlib.crc32(path.read_bytes()) if path.is_file() else None

    def damage(self, state: Generation, *, whole: bool) -> str | None:
        """Whether the map has changed; vectors are compared with the catalogue by `audit`."""
        if state.dense_seal is None or self.seal(state.dense_epoch) == state.dense_seal:
            return None
        return "the map of the vector file has changed under its checksum"

    def bloated(self, epoch: int, rows: int, passages: int) -> bool:
        """Whether more than half of the slots are dead, in a file of some size."""
        return self._map(epoch).size(rows) > 2 * passages + _SMALL

    def tidy(self, epoch: int) -> None:
        """Removes the files of other builds."""
        kept = (self._file(epoch).path, self._map_path(epoch))
        for path in self._folder.glob("vectors-*"):
            if path not in kept:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Releases the file."""
        self._open = None

    def _put(self, epoch: int, batch: IndexBatch) -> None:
        if not batch.entries:
            return
        slots = self._map(epoch).slots(np.array([entry.row for entry in batch.entries]))
        block = np.zeros((slots[-1] - slots[0] + 1, self._dimension), dtype=np.float32)
        block[slots - slots[0]] = batch.vectors
        self._file(epoch).write(int(slots[0]), block)

    def _file(self, epoch: int) -> SlotFile:
        return SlotFile(self._folder / f"vectors-{epoch}.f32", self._dimension)

    def _map(self, epoch: int) -> SlotMap:
        mapped = self._open
        if mapped is not None and mapped.epoch == epoch:
            return mapped.slots
        return SlotMap.load(self._map_path(epoch))

    def _map_path(self, epoch: int) -> Path:
        return self._folder / f"vectors-{epoch}.rows.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mapped:
    epoch: int
    vectors: NDArray[np.float32]
    slots: SlotMap
