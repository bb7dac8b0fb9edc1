"""Consistency check of the passage graph against the texts and triples it is derived from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hoptrail.rag.store.catalogue.audit import Problem
from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.graph_index import tables as linking

_PAGE = 50_000
_TABLES = ("traces", "abouts", "mentions", "triples", "read_by")
_OWNED = "SELECT p.row FROM passages p JOIN documents d ON d.doc = p.doc"
_ODD = tuple(np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class _Sum:
    """Order-independent checksum of a set of (key, row, strength): a count and a sum of hashes."""

    def __init__(self) -> None:
        self.count = 0
        self.total = np.uint64(0)

    def add(self, lines: Sequence[tuple[int, int, float]]) -> None:
        """Adds lines, each at most once."""
        if not lines:
            return
        keys, rows, strengths = zip(*lines, strict=True)
        mixed = np.array(keys, dtype=np.int64).view(np.uint64)
        mixed ^= np.array(rows, dtype=np.int64).view(np.uint64) * _ODD[0]
        mixed += np.array(strengths, dtype=np.float32).view(np.uint32).astype(np.uint64) * _ODD[1]
        mixed ^= mixed >> np.uint64(29)
        mixed *= _ODD[2]
        mixed ^= mixed >> np.uint64(32)
        self.count += len(lines)
        # Over an array, which wraps round in silence; a sum of two numbers would warn.
        self.total = np.array([self.total, mixed.sum()], dtype=np.uint64).sum()


def audit_links(connection: Connection, graph: str) -> Iterator[Problem]:
    """All inconsistencies of the passage graph; call it inside a transaction."""
    reason = linking.staleness(connection, graph)
    if reason is not None:
        yield _problem(reason)
    elif graph == "none":
        if any(connection.execute(f"SELECT 1 FROM {one} LIMIT 1").fetchone() for one in _TABLES):
            yield _problem("the store has no passage graph, but its tables hold rows")
    else:
        yield from _compared(connection)
        yield from _orphans(connection)


def _compared(connection: Connection) -> Iterator[Problem]:
    """Differences between the stored graph and the one derived from texts and triples."""
    wrong = 0
    abouts, mentions = _Sum(), _Sum()
    for right in linking.recomputed(connection):
        query = "SELECT abouts, mentions, candidates FROM traces WHERE row = ?"
        wrong += connection.execute(query, (right.row,)).fetchone() != right.blobs()
        abouts.add([(key, right.row, strength) for key, strength in right.abouts])
        mentions.add([(key, right.row, 0.0) for key in right.mentions])
    if wrong:
        yield _problem(f"the links of {wrong} passages differ from their text and triples")
    for table, columns, right_sum in (
        ("abouts", "key, row, strength", abouts),
        ("mentions", "key, row, 0.0", mentions),
    ):
        held = _held(connection, f"SELECT {columns} FROM {table}")
        if (held.count, held.total) != (right_sum.count, right_sum.total):
            what = f"the table of {table} holds {held.count} entries where {right_sum.count}"
            yield _problem(f"{what} follow from the passages, or others")


def _held(connection: Connection, query: str) -> _Sum:
    held = _Sum()
    lines = connection.execute(query)
    while some := lines.fetchmany(_PAGE):
        held.add(some)
    return held


def _orphans(connection: Connection) -> Iterator[Problem]:
    for table in ("traces", "triples", "read_by"):
        query = f"SELECT count(*) FROM {table} WHERE row NOT IN ({_OWNED})"
        count = connection.execute(query).fetchone()[0]
        if count:
            yield _problem(f"{count} rows of {table} belong to no passage")


def _problem(what: str) -> Problem:
    return Problem(kind="graph", what=what, repairable=True)
