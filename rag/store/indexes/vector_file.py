"""Vector file: append-only, memory-mapped vectors by slot, and the exact scan over them.

Slot s lies at byte s * dimension * 4. Rows are never reused, so a slot is written once and readers
in other processes need no lock. In the first file of a store, row and slot are the same number; a
compaction writes a file without the dead rows, and a `SlotMap` beside it. Both are derived (the
catalogue keeps every vector with its CRC). A file is grown ahead of need, so that a reader seldom
maps it anew.

A float32 product over a whole matrix depends, in its last bits, on where a row lies. So the product
only picks candidates; each one near the k-th is scored again, by a float64 sum of its own row.
"""

from __future__ import annotations

import mmap
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

MARGIN = np.float32(1e-5)
"""Above the error of a float32 product of unit vectors (about 1e-6 at 384 dimensions)."""

_LOWEST = np.finfo(np.float32).min
_BLOCK = 64
_AT_ONCE = 4096
_GROWTH = 1.25
_SMALLEST = 1024


class SlotFile:
    """File of vectors by slot."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.path = path
        self._stride = 4 * dimension
        self._dimension = dimension

    def write(self, first: int, block: NDArray[np.float32]) -> None:
        """Writes (n, dimension) vectors from slot `first` on, with fdatasync."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            needed = (first + len(block)) * self._stride
            if os.fstat(descriptor).st_size < needed:
                rows = max(_SMALLEST, int((first + len(block)) * _GROWTH))
                os.ftruncate(descriptor, rows * self._stride)
            data = memoryview(np.ascontiguousarray(block, dtype="<f4").tobytes())
            at = first * self._stride
            while data:
                written = os.pwrite(descriptor, data, at)
                data, at = data[written:], at + written
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def capacity(self) -> int:
        """Number of slots of the file; 0 if there is no file."""
        try:
            return self.path.stat().st_size // self._stride
        except FileNotFoundError:
            return 0

    def map(self) -> NDArray[np.float32]:
        """The whole file, (capacity, dimension) float32, read-only; later writes show through."""
        rows = self.capacity()
        if rows == 0:
            return np.empty((0, self._dimension), dtype=np.float32)
        with self.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), rows * self._stride, prot=mmap.PROT_READ)
        return np.frombuffer(mapped, dtype="<f4").reshape(rows, self._dimension)


class SlotMap:
    """Map between slots and rows.

    The rows alive when the file was built fill the first slots in order; those that came later
    follow one by one.
    """

    def __init__(self, old: NDArray[np.int64], base: int) -> None:
        """`old`: the rows of the first slots, ascending; `base`: the row of the slot after them."""
        self._old = old
        self._base = base
        self._shift = base - len(old)

    @classmethod
    def load(cls, path: Path) -> SlotMap:
        """Reads a map; without a file, slot and row are the same number."""
        if not path.exists():
            return cls(np.empty(0, dtype=np.int64), 0)
        numbers = np.load(path, allow_pickle=False)
        if numbers.dtype != np.int64 or numbers.ndim != 1 or not len(numbers):
            raise ValueError(f"{path.name!r} is no slot map")
        return cls(numbers[:-1], int(numbers[-1]))

    @staticmethod
    def save(path: Path, live: NDArray[np.bool_]) -> None:
        """Writes the map for a file built from the live rows."""
        numbers = np.append(np.flatnonzero(live), len(live)).astype(np.int64)
        with path.open("wb") as file:
            np.save(file, numbers, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())

    def size(self, rows: int) -> int:
        """Number of slots for all rows below `rows`."""
        return len(self._old) + max(0, rows - self._base)

    def rows(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row of each slot."""
        if not len(self._old):
            return slots + self._shift
        old = slots < len(self._old)
        return np.where(old, self._old[np.where(old, slots, 0)], slots + self._shift)

    def slots(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of each row; the rows must be ones that the file holds."""
        if not len(self._old):
            return rows - self._shift
        return np.where(
            rows < self._base, np.searchsorted(self._old, rows), rows - self._shift
        ).astype(np.int64)

    def dead(self, live: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The slots whose rows are not alive."""
        if not self._shift:
            return np.flatnonzero(~live)
        here = self.rows(np.arange(self.size(len(live)), dtype=np.int64))
        known = here < len(live)
        return np.flatnonzero(~(known & live[np.where(known, here, 0)]))


@lru_cache(maxsize=1)
def one_thread() -> None:
    """Makes BLAS use one thread in this process, for good.

    With two on a busy machine the scan of 10k rows went from 0.3 to 8 ms; a context manager around
    each product costs 24 µs, so it is set once.
    """
    threadpool_limits(limits=1, user_api="blas")


def near_best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Places of all scores that may be among the k best, within a margin; never -inf.

    The k-th largest maximum of disjoint blocks cannot exceed the k-th largest score. A block is a
    column here: along rows the same maxima take ten times as long.
    """
    if len(scores) <= k:
        return np.flatnonzero(scores >= _LOWEST)
    whole = len(scores) // _BLOCK
    if whole >= k:
        tops = scores[: whole * _BLOCK].reshape(_BLOCK, whole).max(axis=0)
        bound = np.partition(tops, whole - k)[whole - k]
    else:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
    near = (scores >= bound - MARGIN).nonzero()[0]
    found = scores[near]
    if len(near) > k:
        bound = np.partition(found, len(near) - k)[len(near) - k]
    kept: NDArray[np.intp] = near[found >= max(bound - MARGIN, _LOWEST)]
    return kept


def exact_scores(
    vectors: NDArray[np.float32], rows: NDArray[np.integer], query: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The products of `vectors[rows]` with the query, each independent of where its row lies.

    Summed in float64, each row by a dot product of its own, and rounded to float32.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float32)
    for at in range(0, len(rows), _AT_ONCE):
        some = vectors.take(rows[at : at + _AT_ONCE], axis=0).astype(np.float64)
        scores[at : at + _AT_ONCE] = np.vecdot(some, wide)
    return scores
