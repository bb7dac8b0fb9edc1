"""Protocols of an index backend: lexical index, dense index, and the backend that keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.types import Generation, IndexBatch, RowFilter
from hoptrail.rag.text.analyzer import Terms
from hoptrail.rag.types import Candidates, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Capabilities of an index; what it lacks is refused with `BackendRefused` when asked for."""

    multi_process: bool
    """Several processes may have it open, one of them writing."""

    persistent: bool
    """It is on disk; otherwise each process builds it from the catalogue."""

    filters_before_ranking: bool
    """A metadata filter never costs results: k hits come back whenever k exist."""


class LexicalIndex(Protocol):
    """One generation of a lexical index."""

    @property
    def traits(self) -> Capabilities:
        """Capabilities of the index."""

    def search(self, terms: Terms, k: int, scope: RowFilter) -> Candidates:
        """The k best rows for analysed terms.

        A term scores by BM25 where it is a word (repetitions count), and its inverse document
        frequency where it is a further term; of more than `MOST_TERMS` the rarest count. Every row
        that ties with the k-th is looked at before the cut. Filtered or not, scores use
        the statistics of the whole store.
        """


class DenseIndex(Protocol):
    """One generation of a dense index."""

    @property
    def traits(self) -> Capabilities:
        """Capabilities of the index."""

    def search(self, vector: NDArray[np.float32], k: int, scope: RowFilter) -> Candidates:
        """The k best rows by inner product with `vector`, (dimension,) float32.

        A row's score depends on its vector and the query alone, not on where the row lies.
        """

    def vectors(self, rows: NDArray[np.int64]) -> Vectors:
        """The vectors of rows that are alive in this generation, in their order."""


IndexT_co = TypeVar("IndexT_co", covariant=True)


class IndexBackend(Protocol[IndexT_co]):
    """Storage of a derived index beside the catalogue; an epoch is one build of it.

    All writing happens under the store's writer lock, `reading` in any thread.
    """

    @property
    def traits(self) -> Capabilities:
        """Capabilities of the index."""

    @property
    def deferred(self) -> bool:
        """Whether it gets the entries of a commit afterwards, from the catalogue's outbox."""

    def admit(self, passages: int) -> None:
        """Raises BackendRefused if the store may not grow to that many passages."""

    def lag(self, state: Generation) -> str | None:
        """The reason why the files on disk do not reflect the state; None if they do."""

    def write(self, epoch: int, batch: IndexBatch) -> AbstractContextManager[None]:
        """Writes a batch that is durable once the block has ended; the catalogue commits later.

        A block that raises leaves nothing that a reader could see.
        """

    def settle(self, writer: Connection) -> None:
        """Applies the changes in the outbox, after the catalogue's commit."""

    def reading(self, state: Generation) -> IndexT_co:
        """The index of a generation, for searches."""

    def build(self, epoch: int, batches: Iterable[IndexBatch], state: Generation) -> None:
        """Writes a new build from all live rows of the state, ascending."""

    def audit(self, state: Generation) -> Iterator[tuple[int, int]]:
        """Pairs (row, CRC-32 of the entry) of each entry of a live row; a row may come twice."""

    def seal(self, epoch: int) -> int | None:
        """CRC-32 of the file that names the others, as of now; None if there is none."""

    def damage(self, state: Generation, *, whole: bool) -> str | None:
        """Which file has changed under its checksum; None if none has.

        Args:
            state: has the seal to compare with.
            whole: check all files, not only what takes some milliseconds.
        """

    def bloated(self, epoch: int, rows: int, passages: int) -> bool:
        """Whether dead rows take more room than live ones; `rows`: row numbers allocated so far."""

    def tidy(self, epoch: int) -> None:
        """Removes every build but this one."""

    def close(self) -> None:
        """Frees files and locks."""
