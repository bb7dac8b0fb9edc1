"""Records between the store and its indexes: live rows, a row filter, a batch to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Candidates, Rows, Vectors

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The live rows of one generation; shared by threads, so never changed in place."""

    generation: int
    live: NDArray[np.bool_]
    """By row, up to the last live row: whether it is alive."""
    passages: int
    """Number of live rows."""
    garbage: int
    """Number of dead rows that a derived index may still hold."""
    lexical_epoch: int
    dense_epoch: int
    """Numbers of the builds of the two derived indexes that belong to the catalogue."""
    lexical_seal: int | None = None
    dense_seal: int | None = None
    """`IndexBackend.seal` of the two as of the last commit; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """The rows that a search may return: those alive that have every filter token."""

    state: Generation
    facets: tuple[str, ...]
    rows: Callable[[], Rows]
    """Returns the allowed rows, ascending; computed when called."""
    ties: Callable[[Rows], Keys]
    """Returns the `tie_key` of each row's passage id."""

    def alive(self, rows: Rows) -> NDArray[np.bool_]:
        """(rows,): whether each row is alive; the filter is ignored."""
        live = self.state.live
        known = rows < len(live)
        if all_of(known):
            alive: NDArray[np.bool_] = live[rows]
            return alive
        alive = np.zeros(len(rows), dtype=np.bool_)
        alive[known] = live[rows[known]]
        return alive


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """A passage as the indexes receive it."""

    row: int
    passage_id: str
    words: str
    """Title and text, for the lexical index."""
    facets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBatch:
    """A batch for an index: `vectors[i]` belongs to `entries[i]`, rows ascending."""

    entries: Sequence[IndexEntry]
    vectors: Vectors
    swept: Sequence[tuple[int, int]] = field(default=())
    """Spans of dead rows that the index can remove for good."""


NOTHING = Candidates(rows=np.empty(0, dtype=np.int64), scores=np.empty(0, dtype=np.float32))


def all_of(flags: NDArray[np.bool_]) -> bool:
    """`flags.all()` in a third of its time; a search calls it a dozen times."""
    return bool(np.count_nonzero(flags) == flags.size)


def tie_key(passage_id_hash: str) -> int:
    """The tie-break key of a row: ordered as the 16 hex digits that `tie_break` returns."""
    return int(passage_id_hash, 16)


def ranked(
    rows: Rows, scores: NDArray[np.float32], k: int, ties: Callable[[Rows], Keys]
) -> Candidates:
    """The k best candidates; equal scores are ordered by tie key.

    `rows` must hold every row that ties with the k-th, or the cut would depend on their order.
    """
    order = (-scores).argsort(kind="stable")
    rows, scores = rows[order], scores[order]
    cut = min(k, len(rows))
    # Only what ties with the k-th or stands above it can matter.
    if np.count_nonzero(scores[1 : cut + 1] == scores[: len(scores) - 1][:cut]):
        upto = int(np.searchsorted(-scores, -scores[cut - 1], side="right"))
        rows, scores = rows[:upto], scores[:upto]
        order = np.lexsort((ties(rows), -scores))
        rows, scores = rows[order], scores[order]
    return Candidates(rows=rows[:cut], scores=scores[:cut])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """Counts, sizes and settings of a store."""

    tenant: str
    documents: int
    passages: int
    generation: int
    bytes: int
    """On disk, all files of the tenant."""
    embedder: str
    dimension: int
    lexical: str
    dense: str
    language: str
    graph: str
    triples: int
    """Imported triples in the graph."""
    format: int
