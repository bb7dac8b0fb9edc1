"""What the store hands to its indexes: the rows that are alive, a filter, a batch to write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.types import Candidates, Rows, Vectors

Keys = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One generation as it stands in memory; shared by threads, so never changed in place."""

    generation: int
    live: NDArray[np.bool_]
    """By row, up to the last row that is alive."""
    passages: int
    """Rows alive."""
    garbage: int
    """Rows that a derived index may still hold although they are not alive."""
    lexical_epoch: int
    dense_epoch: int
    """Which build of a derived index belongs to the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which rows a search may return: those alive that have every facet."""

    state: Generation
    facets: tuple[str, ...]
    rows: Callable[[], Rows]
    """The rows allowed, ascending; computed when asked for."""
    ties: Callable[[Rows], Keys]
    """The `tie_break` of each row's passage id, as a number."""

    def alive(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each row is alive; filters are not looked at."""
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
    """A passage as an index sees it."""

    row: int
    passage_id: str
    words: str
    """Title and text, what a lexical index reads."""
    facets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBatch:
    """What an index has to learn: `vectors[i]` belongs to `entries[i]`, rows ascending."""

    entries: Sequence[IndexEntry]
    vectors: Vectors
    swept: Sequence[tuple[int, int]] = field(default=())
    """Spans of rows that are no longer alive and can be taken out for good."""


NOTHING = Candidates(rows=np.empty(0, dtype=np.int64), scores=np.empty(0, dtype=np.float32))


def all_of(flags: NDArray[np.bool_]) -> bool:
    """`flags.all()` in a third of its time, which a search pays a dozen times."""
    return bool(np.count_nonzero(flags) == flags.size)


def tie_key(passage_id_hash: str) -> int:
    """The number whose order is that of the 16 hex digits `tie_break` returns."""
    return int(passage_id_hash, 16)


def ranked(
    rows: Rows, scores: NDArray[np.float32], k: int, ties: Callable[[Rows], Keys]
) -> Candidates:
    """The k best, equal scores by tie key.

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
