"""Reader of the passage graph: links between entities and passages, and imported triples.

An entity is the 64-bit key of a name (`hoptrail.rag.entities`). All look-ups are bounded: a name
that half the corpus mentions costs no more than one that a few passages do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.graph_index.tables import (
    ABOUT_BYTES,
    KEY_BYTES,
    Keys,
    about_keys,
    about_strengths,
    keys_of,
)
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.store.types import RowFilter
from hoptrail.rag.types import Rows

_SCANNED = 2048
"""Rows of one entity that are read to find those that a filter keeps."""
_LAST = (1 << 63) - 1
_OUTGOING = (
    "SELECT row, abouts, mentions, candidates FROM traces "
    "WHERE row IN (SELECT value FROM json_each(?))"
)
_ABOUT = (
    "SELECT a.key, a.row, a.strength FROM json_each(?1) j CROSS JOIN abouts a ON a.key = j.value "
    "AND a.row < coalesce((SELECT row FROM abouts WHERE key = j.value ORDER BY row "
    f"LIMIT 1 OFFSET ?2), {_LAST}) WHERE EXISTS (SELECT 1 FROM abouts WHERE key = j.value)"
)
"""Looked up first, since most candidates for a title are none."""
_MENTIONING = (
    "SELECT m.key, m.row FROM json_each(?1) j CROSS JOIN mentions m ON m.key = j.value "
    "WHERE NOT EXISTS (SELECT 1 FROM mentions WHERE key = j.value LIMIT 1 OFFSET ?2)"
)
_COUNTS = (
    "SELECT (SELECT count(*) FROM (SELECT 1 FROM mentions WHERE key = value LIMIT ?2)) "
    "FROM json_each(?1) ORDER BY id"
)
_NAMES = (
    f"SELECT coalesce((SELECT length(mentions) / {KEY_BYTES} FROM traces WHERE row = value), 0) "
    "FROM json_each(?) ORDER BY id"
)
_ROWS = "SELECT id, row FROM passages WHERE id IN (SELECT value FROM json_each(?))"
_TRIPLES = (
    "SELECT row, subject, relation, object FROM triples "
    "WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row, subject, relation, object"
)


_Number = TypeVar("_Number", np.int64, np.float32)


def _none() -> Keys:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageLinks:
    """The entities of one row, as int64 keys, each once; all empty if the row is not in scope."""

    abouts: Keys = field(default_factory=_none)
    strengths: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    """Strengths of `abouts`, in (0, 1]."""
    mentions: Keys = field(default_factory=_none)
    candidates: Keys = field(default_factory=_none)
    """Keys of spans that may be another passage's title, maximal names first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutLinks:
    """Links to subjects: row `rows[i]` is about `keys[i]`; ordered by key, then row."""

    keys: Keys
    rows: Rows
    strengths: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class MentionLinks:
    """Mention links: row `rows[i]` mentions `keys[i]`; ordered by key, then row."""

    keys: Keys
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTriple:
    """An imported triple and the row of its passage."""

    row: int
    subject: str
    relation: str
    object: str


class GraphReader:
    """The passage graph of one snapshot under a filter; for one thread at a time.

    All calls are answered from one read transaction, so they agree with each other. It may be of
    a later generation than the snapshot; then rows that died meanwhile are missing and rows that
    were born are left out. Whoever needs all of them compares `generation` with the snapshot's.
    """

    __slots__ = ("_allowed", "_connection", "_errors", "_filtered", "generation")

    def __init__(self, connection: Connection, scope: RowFilter, errors: disk_errors) -> None:
        """Use `Snapshot.graph`."""
        self._connection = connection
        self._errors = errors
        self._filtered = bool(scope.facets)
        self._allowed = _mask(scope)
        with errors:
            query = "SELECT value FROM meta WHERE key = 'generation'"
            self.generation: int = connection.execute(query).fetchone()[0]

    def rows(self, passages: Sequence[str]) -> Rows:
        """The rows of passages by id, in their order; -1 for one that is not in scope."""
        known = dict(self._asked(_ROWS, json.dumps(list(passages))))
        rows = np.array([known.get(one, -1) for one in passages], dtype=np.int64)
        return np.where(self._kept(rows), rows, -1)

    def outgoing(self, rows: Rows | Sequence[int]) -> tuple[PassageLinks, ...]:
        """The entities of each row, in the order of `rows`.

        Raises:
            StoreDamaged: a row's traces have a length that they cannot have.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        known: dict[int, PassageLinks] = {}
        for row, *blobs in self._asked(_OUTGOING, _json(self._in_scope(wanted))):
            known[row] = _outgoing(row, *blobs)
        nothing = PassageLinks()
        return tuple(known.get(row, nothing) for row in wanted.tolist())

    def about(self, keys: Keys | Sequence[int], limit: int = 64) -> AboutLinks:
        """The rows that are about any of the entities.

        Args:
            keys: int64; each counts once.
            limit: rows of one entity at most, the first ones. Under a filter they are sought among
                its first 2,048.
        """
        most = max(limit, _SCANNED) if self._filtered else limit
        lines = self._asked(_ABOUT, _json(np.unique(np.asarray(keys, dtype=np.int64))), most)
        named = _column(lines, 0)
        rows = _column(lines, 1)
        strengths = _numbers([line[2] for line in lines], np.float32)
        keep = self._kept(rows)
        named, rows, strengths = named[keep], rows[keep], strengths[keep]
        first = np.arange(len(named)) - np.searchsorted(named, named) < limit
        return AboutLinks(keys=named[first], rows=rows[first], strengths=strengths[first])

    def mentioning(self, keys: Keys | Sequence[int], limit: int) -> MentionLinks:
        """The rows that mention any of the entities.

        Args:
            keys: int64; each counts once.
            limit: an entity that more rows mention, in or out of the filter, is left out.
        """
        lines = self._asked(_MENTIONING, _json(np.unique(np.asarray(keys, dtype=np.int64))), limit)
        named = _column(lines, 0)
        rows = _column(lines, 1)
        keep = self._kept(rows)
        return MentionLinks(keys=named[keep], rows=rows[keep])

    def counts(self, keys: Keys | Sequence[int], limit: int = 1000) -> NDArray[np.int64]:
        """(keys,): number of rows that mention each entity, counted up to `limit`.

        As with the weights of words, rows outside the filter count.
        """
        each, places = np.unique(np.asarray(keys, dtype=np.int64), return_inverse=True)
        lines = self._asked(_COUNTS, _json(each), limit)
        counted = np.array([count for (count,) in lines], dtype=np.int64)
        found: NDArray[np.int64] = counted[places]
        return found

    def names(self, rows: Rows | Sequence[int]) -> NDArray[np.int64]:
        """(rows,): number of names that each row mentions; 0 for a row not in scope."""
        wanted = np.asarray(rows, dtype=np.int64)
        counted = np.array(self._asked(_NAMES, _json(wanted)), dtype=np.int64).reshape(-1)
        return np.where(self._kept(wanted), counted, 0)

    def triples(self, rows: Rows | Sequence[int]) -> tuple[StoredTriple, ...]:
        """The imported triples of the rows, ordered by row, subject, relation and object."""
        wanted = self._in_scope(np.asarray(rows, dtype=np.int64))
        return tuple(
            StoredTriple(row=row, subject=subject, relation=relation, object=thing)
            for row, subject, relation, thing in self._asked(_TRIPLES, _json(wanted))
        )

    def _asked(self, query: str, *values: str | int) -> list[tuple]:  # type: ignore[type-arg]
        with self._errors:
            return self._connection.execute(query, values).fetchall()

    def _kept(self, rows: Rows) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = (rows >= 0) & (rows < len(self._allowed))
        kept[kept] = self._allowed[rows[kept]]
        return kept

    def _in_scope(self, rows: Rows) -> Rows:
        return rows[self._kept(rows)]


def _mask(scope: RowFilter) -> NDArray[np.bool_]:
    """By row: whether it is in scope."""
    if not scope.facets:
        return scope.state.live
    allowed = np.zeros(len(scope.state.live), dtype=np.bool_)
    allowed[scope.rows()] = True
    return allowed


def _outgoing(row: int, abouts: bytes, mentions: bytes, candidates: bytes) -> PassageLinks:
    if not all(isinstance(one, bytes) for one in (abouts, mentions, candidates)):
        raise StoreDamaged(f"The links of row {row} are damaged: run hoptrail fsck --repair.")
    if len(abouts) % ABOUT_BYTES or len(mentions) % KEY_BYTES or len(candidates) % KEY_BYTES:
        raise StoreDamaged(f"The links of row {row} are cut short: run hoptrail fsck --repair.")
    return PassageLinks(
        abouts=about_keys(abouts),
        strengths=about_strengths(abouts),
        mentions=keys_of(mentions),
        candidates=keys_of(candidates),
    )


def _column(lines: Sequence[tuple], place: int) -> NDArray[np.int64]:  # type: ignore[type-arg]
    return _numbers([line[place] for line in lines], np.int64)


def _numbers(values: Sequence[object], kind: type[_Number]) -> NDArray[_Number]:
    try:
        return np.array(values, dtype=kind)
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreDamaged(
            f"Entries of the passage graph are damaged ({error}): run hoptrail fsck --repair."
        ) from error


def _json(numbers: NDArray[np.int64]) -> str:
    return json.dumps(numbers.tolist())


class PassageGraph(Protocol):
    """The interface of a passage graph that a search needs; entities are keys, passages rows."""

    def outgoing(self, rows: Sequence[int]) -> tuple[PassageLinks, ...]:
        """The entities of each row, in the order of `rows`."""

    def about(self, keys: Sequence[int]) -> AboutLinks:
        """The rows that are about any of the keys."""

    def mentioning(self, keys: Sequence[int], limit: int) -> MentionLinks:
        """The rows that mention any of the keys; keys with more rows than that are left out."""

    def counts(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """(keys,): number of rows that mention each key."""

    def names(self, rows: Sequence[int]) -> NDArray[np.int64]:
        """(rows,): number of names that each row mentions."""
