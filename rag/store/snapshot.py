"""Snapshots: one generation of a store, with its filters, as searches of this process see it.

A view is replaced, never changed. Whether another connection has committed is asked on every call
(`PRAGMA data_version`, a few microseconds); only then is the log read, in one transaction.
A generation is read whole from the catalogue, or an earlier one is caught up from its log.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import BackendRefused, SettingsError, StoreDamaged
from hoptrail.rag.store.backends import Backends
from hoptrail.rag.store.catalogue.database import (
    Connection,
    expanded,
    meta,
    passages_where,
    rows_with,
    snapshot,
)
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.store.catalogue.unmatched_filter import why_unmatched
from hoptrail.rag.store.catalogue.writes import KEPT_GENERATIONS
from hoptrail.rag.store.graph_index.reader import GraphReader
from hoptrail.rag.store.indexes.base import DenseIndex, LexicalIndex
from hoptrail.rag.store.layout import disk_errors, index_errors
from hoptrail.rag.store.spec import StoreSpec
from hoptrail.rag.store.types import Generation, Keys, RowFilter, all_of, tie_key
from hoptrail.rag.text.analyzer import analyzer
from hoptrail.rag.types import EVERYTHING, Candidates, Rows, Where, check_k, tie_break


def load_generation(connection: sqlite3.Connection) -> Generation:
    """Loads the present generation from the documents themselves."""
    spans = connection.execute("SELECT doc, rows FROM documents WHERE rows > 0").fetchall()
    counted = sum(rows for _, rows in spans if isinstance(rows, int))
    if counted != meta(connection).get("passages"):
        # Before row numbers are made of it: a damaged count could ask for any amount of memory.
        raise StoreDamaged(
            f"The documents of the catalogue have {counted} passages, and its settings say "
            f"{meta(connection).get('passages')!r}: run hoptrail fsck --repair."
        )
    rows = expanded(spans)
    live = np.zeros(int(rows.max()) + 1 if len(rows) else 0, dtype=np.bool_)
    live[rows] = True
    return _state(connection, live)


def catch_up(connection: sqlite3.Connection, state: Generation) -> Generation:
    """Catches an earlier generation up from the log; the same object if nothing has changed."""
    values = meta(connection)
    behind = int(values["generation"]) - state.generation
    epochs = (values["lexical_epoch"], values["dense_epoch"])
    if behind == 0 and epochs == (state.lexical_epoch, state.dense_epoch):
        return state
    if not 0 <= behind < KEPT_GENERATIONS:
        return load_generation(connection)
    changes = connection.execute(
        "SELECT first, rows, alive FROM log WHERE generation > ? ORDER BY generation, alive",
        (state.generation,),
    ).fetchall()
    size = max((first + rows for first, rows, alive in changes if alive), default=0)
    live = np.zeros(max(size, len(state.live)), dtype=np.bool_)
    live[: len(state.live)] = state.live
    for first, rows, alive in changes:
        live[first : first + rows] = bool(alive)
    return _state(connection, live)


def _state(connection: sqlite3.Connection, live: NDArray[np.bool_]) -> Generation:
    values = meta(connection)
    garbage: int = connection.execute("SELECT coalesce(sum(rows), 0) FROM garbage").fetchone()[0]
    return Generation(
        generation=int(values["generation"]),
        live=live,
        passages=int(np.count_nonzero(live)),
        garbage=garbage,
        lexical_epoch=int(values["lexical_epoch"]),
        dense_epoch=int(values["dense_epoch"]),
        lexical_seal=_seal(values.get("lexical_seal")),
        dense_seal=_seal(values.get("dense_seal")),
    )


def _seal(value: object) -> int | None:
    return value if isinstance(value, int) else None


_CACHED_FILTERS = 64
_PLACES = "SELECT id, row, doc FROM passages WHERE id IN (SELECT value FROM json_each(?))"
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationView:
    """One generation with both indexes open for searches."""

    state: Generation
    lexical: LexicalIndex
    dense: DenseIndex


class Snapshot:
    """One generation of a store: all searches of a snapshot see the same passages."""

    __slots__ = ("_errors", "_spec", "_view", "_views")

    def __init__(self, views: ViewCache, spec: StoreSpec, errors: disk_errors) -> None:
        """Use `Store.snapshot`."""
        self._views = views
        self._view = views.newest()
        self._spec = spec
        self._errors = errors

    @property
    def generation(self) -> int:
        """Number of the commit that it shows."""
        return self._view.state.generation

    def lexical(self, query: str, k: int, where: Where = EVERYTHING) -> Candidates:
        """As `Store.lexical`."""
        check_k(k)
        terms = analyzer(self._spec.language).terms(query)
        with self._errors:
            scope = self._views.scope(self._view.state, where)
            with self._views.lexical_errors:
                return self._view.lexical.search(terms, k, scope)

    def dense(self, vector: NDArray[np.float32], k: int, where: Where = EVERYTHING) -> Candidates:
        """As `Store.dense`."""
        check_k(k)
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self._spec.dimension,) or not all_of(np.isfinite(query)):
            raise SettingsError(
                f"A query vector must be {self._spec.dimension} finite numbers, "
                f"not of shape {query.shape!r}."
            )
        with self._errors:
            scope = self._views.scope(self._view.state, where)
            with self._views.dense_errors:
                return self._view.dense.search(query, k, scope)

    def rows(self, where: Where = EVERYTHING) -> Rows:
        """The rows that a filter keeps, ascending; read-only.

        Raises:
            SettingsError: a filter value that is no scalar.
        """
        with self._errors:
            return self._views.scope(self._view.state, where).rows()

    def unmatched(self, where: Where) -> str:
        """Why a filter keeps no document, with the keys and values near it; empty: it keeps some.

        Raises:
            SettingsError: a filter value that is no scalar.
        """
        if len(self.rows(where)):
            return ""
        with self._errors, self._views.reading() as connection:
            return why_unmatched(connection, where)

    def places(self, passages: Sequence[str]) -> tuple[Rows, Rows]:
        """The rows of passages by id, and the first rows of their documents, in their order.

        -1 in both for a passage that this generation does not have.
        """
        with self._errors, self._views.reading() as connection:
            found = connection.execute(_PLACES, (json.dumps(list(passages)),)).fetchall()
        live = self._view.state.live
        known = {one: (row, doc) for one, row, doc in found if row < len(live) and live[row]}
        pairs = [known.get(one, (-1, -1)) for one in passages]
        rows, documents = np.array(pairs, dtype=np.int64).reshape(len(pairs), 2).T
        return rows, documents

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of rows of this generation, (len(rows), dimension), in their order."""
        with self._errors, self._views.dense_errors:
            return self._view.dense.vectors(rows)

    @contextmanager
    def graph(self, where: Where = EVERYTHING) -> Iterator[GraphReader]:
        """The passage graph over the passages that a filter keeps, inside a `with` block.

        Raises:
            BackendRefused: the store has no passage graph.
            SettingsError: a filter value that is no scalar.
        """
        check_graph(self._spec)
        with self._views.reading() as connection:
            with self._errors:
                scope = self._views.scope(self._view.state, where)
                links = GraphReader(connection, scope, self._errors)
            yield links


class ViewCache:
    """Cache of the newest view and of filtered rows; thread-safe."""

    def __init__(self, parts: Backends) -> None:
        self._parts = parts
        self.lexical_errors = index_errors(parts.layout.folder, "lexical")
        self.dense_errors = index_errors(parts.layout.folder, "dense")
        self._guard = threading.Lock()
        self._view: GenerationView | None = None
        self._filters: OrderedDict[tuple[int, tuple[str, ...]], Rows] = OrderedDict()

    def newest(self) -> GenerationView:
        """The view of the newest commit."""
        with self._parts.catalogue.reading() as connection:
            view = self._view
            if view is not None and not connection.moved():
                return view
            # Marked before it is read: a commit in between is noticed by the next call.
            connection.mark()
            with self._guard:
                return self._caught_up(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A read transaction on the newest commit."""
        with self._parts.catalogue.reading() as connection, snapshot(connection):
            yield connection

    def scope(self, state: Generation, where: Where) -> RowFilter:
        """The rows of a generation that a metadata filter keeps, read when needed."""
        wanted = filter_tokens(where)
        return RowFilter(
            state=state,
            facets=wanted,
            rows=lambda: self._rows(state, wanted),
            ties=self._ties,
        )

    def _caught_up(self, connection: Connection) -> GenerationView:
        for attempt in range(_ATTEMPTS):
            view = self._view
            with snapshot(connection):
                state = (
                    load_generation(connection)
                    if view is None
                    else catch_up(connection, view.state)
                )
            if view is not None and state is view.state:
                return view
            try:
                view = self._opened(state)
            except (OSError, StoreDamaged):
                # A compaction may just have removed the build that this state names.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            self._view = view
        assert view is not None
        return view

    def _opened(self, state: Generation) -> GenerationView:
        with self.lexical_errors:
            lexical = self._parts.lexical.reading(state)
        with self.dense_errors:
            dense = self._parts.dense.reading(state)
        return GenerationView(state=state, lexical=lexical, dense=dense)

    def _rows(self, state: Generation, wanted: tuple[str, ...]) -> Rows:
        key = (state.generation, wanted)
        cached = self._filters.get(key)
        if cached is not None:
            return cached
        if wanted:
            with self._parts.catalogue.reading() as connection:
                rows = rows_with(connection, wanted)
            rows = rows[rows < len(state.live)]
            rows = rows[state.live[rows]]
        else:
            rows = np.flatnonzero(state.live)
        with self._guard:
            self._filters[key] = rows
            while len(self._filters) > _CACHED_FILTERS:
                self._filters.popitem(last=False)
        return rows

    def _ties(self, rows: Rows) -> Keys:
        with self._parts.catalogue.reading() as connection:
            known = passages_where(connection, "row", rows.tolist())
        # A row that died meanwhile gets any place: it does not resolve, and is ranked again.
        keys = [tie_key(tie_break(known[row].id)) if row in known else 0 for row in rows.tolist()]
        return np.array(keys, dtype=np.uint64)


def check_graph(spec: StoreSpec) -> None:
    """Raises BackendRefused unless the store has a passage graph."""
    if spec.graph == "none":
        raise BackendRefused(
            "This store was made without a passage graph (graph 'none'), and that cannot be "
            "changed: ingest into a new store that has one (graph 'links')."
        )
