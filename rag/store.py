"""The store of one tenant: a catalogue that is the truth, and two indexes derived from it.

One writer at a time (a lock that names its owner), any number of readers in other processes, each
of which sees a committed generation on its next call. Order of a commit: burn row numbers; vectors
and their fdatasync; the lexical index and its commit; the catalogue's commit, which alone makes the
change visible and acknowledges it. So a crash at any point leaves either the old documents or the
new ones; rows that never became alive are swept out by a later write.

A `Store` may be shared by threads: every call borrows a database connection of its own, and what
the threads share in memory (`_View`) is replaced, never changed.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np
from hoptrail.rag import catalogue, journal
from hoptrail.rag.analyser import words
from hoptrail.rag.catalogue import Catalogue, Connection
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.facets import facets
from hoptrail.rag.founding import FORMAT, StoreSpec, found, opened
from hoptrail.rag.indexes.choose import dense_keeper, lexical_keeper
from hoptrail.rag.layout import Layout, disk_errors
from hoptrail.rag.locks import WriterLock
from hoptrail.rag.protocols import DenseIndex, Embedder, Keeper, LexicalIndex
from hoptrail.rag.scope import Batch, Entry, Keys, Rows, Scope, State, tie_key
from hoptrail.rag.states import advanced, loaded
from hoptrail.rag.types import (
    Candidates,
    Document,
    IndexedDocument,
    Passage,
    Where,
    tie_break,
)
from hoptrail.rag.validate import check_deletes, check_puts
from numpy.typing import NDArray

__all__ = ["FORMAT", "Store", "StoreSpec", "StoreStats"]

_LOG = logging.getLogger(__name__)
_EVERYTHING: Where = MappingProxyType({})
_CACHED_FILTERS = 64
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """What a store holds."""

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
    format: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """One generation as the threads of this process see it."""

    state: State
    lexical: LexicalIndex
    dense: DenseIndex


class Store:
    """A tenant's documents, searchable by words and by vector."""

    def __init__(self, layout: Layout, spec: StoreSpec, secret: bytes, wait: float) -> None:
        """Use `Store.create` or `Store.open`."""
        self.spec = spec
        self.root = layout.root
        self.tenant = layout.tenant
        self.secret = secret
        self._layout = layout
        self._wait = wait
        self._catalogue = Catalogue(layout.catalogue)
        self._lock = WriterLock(layout.folder)
        self._lexical: Keeper[LexicalIndex] = lexical_keeper(spec, layout, self._catalogue)
        self._dense: Keeper[DenseIndex] = dense_keeper(spec, layout, self._catalogue)
        self._sync = threading.Lock()
        self._shared: _View | None = None
        self._writer: Connection | None = None
        self._filters: OrderedDict[tuple[int, tuple[str, ...]], Rows] = OrderedDict()

    @classmethod
    def create(cls, root: Path, spec: StoreSpec, *, tenant: str = "default") -> Self:
        """Makes an empty store and opens it.

        Raises:
            SettingsError: the tenant has a store already, or a setting is wrong.
        """
        layout = Layout(root=Path(root), tenant=tenant)
        found(layout, spec)
        return cls.open(root, tenant=tenant)

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        tenant: str = "default",
        embedder: Embedder | None = None,
        wait: float = 30.0,
    ) -> Self:
        """Opens a store, rebuilding from its catalogue whatever derived index lags behind.

        Args:
            root: the folder of all tenants.
            tenant: 1 to 64 of a-z, 0-9, - and _.
            embedder: checked against the one the store was made with.
            wait: seconds that a write waits for another writer.

        Raises:
            StoreMissing: there is none.
            StoreMismatch: another embedder, dimension or format.
            StoreDamaged: the catalogue cannot be read.
        """
        layout = Layout(root=Path(root), tenant=tenant)
        with disk_errors(layout.folder):
            spec, secret = opened(layout, embedder)
            store = cls(layout, spec, secret, wait)
            try:
                store._mend()
            except BaseException:
                store.close()
                raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes files and connections; the store cannot be used afterwards."""
        self._lexical.close()
        self._dense.close()
        self._catalogue.close()
        self._shared = None
        self._writer = None

    @property
    def generation(self) -> int:
        """The newest committed generation; 0: nothing was ever committed."""
        return self._view().state.generation

    def commit(self, puts: Sequence[IndexedDocument], deletes: Collection[str] = ()) -> int:
        """Replaces each document as a whole and deletes others, all at once or not at all.

        Args:
            puts: documents with passages and vectors; one may have no passage.
            deletes: document ids; unknown ones are skipped.

        Returns:
            The generation that has the change (the present one if there was nothing to change).

        Raises:
            StoreBusy: another writer held the lock for `wait` seconds; names it.
            StoreFull: no space left; nothing of this call is visible.
            BackendRefused: an index may not grow so large; nothing was written.
            SettingsError: a malformed document.
        """
        check_puts(puts, self.spec.dimension)
        check_deletes(puts, deletes)
        if not puts and not deletes:
            return self.generation
        with self._lock.held(self._wait), disk_errors(self._layout.folder):
            return self._commit(puts, deletes)

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every document by id."""
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            return dict(connection.execute("SELECT id, fingerprint FROM documents").fetchall())

    def document(self, identifier: str) -> Document | None:
        """A document as a whole; None if there is none of that id."""
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            return catalogue.document(connection, identifier)

    def documents(self) -> Iterator[str]:
        """The ids of all documents, ascending."""
        last = ""
        query = "SELECT id FROM documents WHERE id > ? ORDER BY id LIMIT 1000"
        while True:
            with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
                page = [one for (one,) in connection.execute(query, (last,)).fetchall()]
            yield from page
            if not page:
                return
            last = page[-1]

    def slice(self, document_id: str, start: int, end: int) -> str | None:
        """`text[start:end]` of a document without reading the rest; None if there is none.

        Raises:
            SettingsError: a negative offset.
        """
        if start < 0 or end < 0:
            raise SettingsError(f"A slice needs offsets >= 0, not {start!r} and {end!r}.")
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            return catalogue.text_slice(connection, document_id, start, max(start, end))

    def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """The passages of the ids, in their order; None for an unknown one."""
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            known = catalogue.passages_where(connection, "id", list(ids))
        return tuple(known.get(one) for one in ids)

    def passages_of(self, document_id: str) -> tuple[Passage, ...]:
        """A document's passages by start; empty for an unknown document."""
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            return catalogue.passages_of(connection, document_id)

    def resolve(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Passage | None, ...]:
        """The passages of the rows, in their order; None where a row has died meanwhile."""
        numbers = rows.tolist() if isinstance(rows, np.ndarray) else list(rows)
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            known = catalogue.passages_where(connection, "row", numbers)
        return tuple(known.get(row) for row in numbers)

    def lexical(self, query: str, k: int, where: Where = _EVERYTHING) -> Candidates:
        """The k best rows by BM25; none for a query without a word that counts.

        The query is data: no character of it is syntax.

        Raises:
            SettingsError: k < 1, or a filter value that is no scalar.
        """
        _check_k(k)
        terms = words(self.spec.language, query)
        with disk_errors(self._layout.folder):
            view = self._view()
            return view.lexical.search(terms, k, self._scope(view.state, where))

    def dense(self, vector: NDArray[np.float32], k: int, where: Where = _EVERYTHING) -> Candidates:
        """The k best rows by inner product with an L2-normalised (dimension,) float32 vector.

        Raises:
            SettingsError: k < 1, a vector of another shape, or a filter value that is no scalar.
        """
        _check_k(k)
        query = np.ascontiguousarray(vector, dtype=np.float32)
        if query.shape != (self.spec.dimension,) or not np.isfinite(query).all():
            raise SettingsError(
                f"A query vector must be {self.spec.dimension} finite numbers, "
                f"not of shape {query.shape!r}."
            )
        with disk_errors(self._layout.folder):
            view = self._view()
            return view.dense.search(query, k, self._scope(view.state, where))

    def stats(self) -> StoreStats:
        """Counts, size and settings."""
        with disk_errors(self._layout.folder), self._catalogue.reading() as connection:
            documents, passages, generation = connection.execute(
                "SELECT (SELECT count(*) FROM documents), "
                "(SELECT coalesce(sum(rows), 0) FROM documents), "
                "(SELECT value FROM meta WHERE key = 'generation')"
            ).fetchone()
        return StoreStats(
            tenant=self.tenant,
            documents=documents,
            passages=passages,
            generation=generation,
            bytes=self._layout.size(),
            embedder=self.spec.embedder,
            dimension=self.spec.dimension,
            lexical=self.spec.lexical,
            dense=self.spec.dense,
            language=self.spec.language,
            format=self.spec.format,
        )

    def compact(self) -> None:
        """Builds both indexes anew without dead rows, and gives the space back.

        Readers go on meanwhile; they change over on their next call.

        Raises:
            StoreBusy: another writer held the lock for `wait` seconds.
            StoreFull: no space for the new files; the old ones stay in use.
        """
        with self._lock.held(self._wait), disk_errors(self._layout.folder):
            self._rebuild(lexical=True, dense=True)
            writer = self._write_connection()
            writer.execute("VACUUM")
            writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _view(self) -> _View:
        """What this process sees, brought up to the newest commit."""
        with self._catalogue.reading() as connection:
            view = self._shared
            if view is not None and not connection.moved():
                return view
            connection.mark()
            with self._sync:
                return self._synced(connection)

    def _synced(self, connection: Connection) -> _View:
        for attempt in range(_ATTEMPTS):
            view = self._shared
            state = self._state(connection, view)
            if view is not None and state is view.state:
                return view
            try:
                view = _View(
                    state=state,
                    lexical=self._lexical.reading(state),
                    dense=self._dense.reading(state),
                )
            except (OSError, ValueError):
                # A compaction may have removed the build that this state names.
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            self._shared = view
        assert view is not None
        return view

    def _state(self, connection: Connection, view: _View | None) -> State:
        with catalogue.snapshot(connection):
            return loaded(connection) if view is None else advanced(connection, view.state)

    def _scope(self, state: State, where: Where) -> Scope:
        wanted = facets(where)
        return Scope(
            state=state, facets=wanted, rows=lambda: self._rows(state, wanted), ties=self._ties
        )

    def _rows(self, state: State, wanted: tuple[str, ...]) -> Rows:
        key = (state.generation, wanted)
        cached = self._filters.get(key)
        if cached is not None:
            return cached
        with self._catalogue.reading() as connection:
            rows = catalogue.rows_with(connection, wanted)
        rows = rows[rows < len(state.live)]
        rows = rows[state.live[rows]]
        with self._sync:
            self._filters[key] = rows
            while len(self._filters) > _CACHED_FILTERS:
                self._filters.popitem(last=False)
        return rows

    def _ties(self, rows: Rows) -> Keys:
        passages = self.resolve(rows)
        # A row that died meanwhile sorts last; its winner does not resolve and is ranked again.
        keys = [0 if one is None else tie_key(tie_break(one.id)) for one in passages]
        return np.array(keys, dtype=np.uint64)

    def _write_connection(self) -> Connection:
        if self._writer is None:
            self._writer = self._catalogue.connect()
        return self._writer

    def _commit(self, puts: Sequence[IndexedDocument], deletes: Collection[str]) -> int:
        writer = self._write_connection()
        replaced = [item.document.id for item in puts]
        self._admit(writer, puts, [*replaced, *deletes])
        needed = journal.rows_needed(puts)
        first = journal.burn(writer, needed) if needed else 0
        placed = journal.place(first, puts)
        with journal.writing(writer):
            swept = [span for span in journal.garbage(writer) if span != (first, needed)]
            batch = _batch(placed, swept)
            died = journal.remove(writer, [*replaced, *deletes])
            if not puts and not died:
                return journal.number(writer, "generation")
            # Vectors before words before the catalogue's commit: see the module's first lines.
            self._dense.write(journal.number(writer, "dense_epoch"), batch)
            self._lexical.write(journal.number(writer, "lexical_epoch"), batch)
            journal.insert(writer, placed)
            journal.sweep(writer, died)
            born = [(one.doc, len(one.item.passages)) for one in placed]
            if self.spec.dense == "chroma":
                journal.post(writer, born, died)
            generation = journal.log(writer, born, died)
        self._dense.settle()
        self._lexical.settle()
        return generation

    def _admit(
        self, writer: Connection, puts: Sequence[IndexedDocument], gone: Collection[str]
    ) -> None:
        passages = sum(len(item.passages) for item in puts) + journal.passages_without(writer, gone)
        self._lexical.admit(passages)
        self._dense.admit(passages)

    def _mend(self) -> None:
        with self._catalogue.reading() as connection:
            state = self._state(connection, None)
        if self._lexical.lag(state) is None and self._dense.lag(state) is None:
            return
        with self._lock.held(self._wait):
            with self._catalogue.reading() as connection:
                state = self._state(connection, None)
            lexical, dense = self._lexical.lag(state), self._dense.lag(state)
            for reason in filter(None, (lexical, dense)):
                _LOG.warning("%s: %s; building it anew", self._layout.folder, reason)
            self._rebuild(lexical=lexical is not None, dense=dense is not None)

    def _rebuild(self, *, lexical: bool, dense: bool) -> None:
        """Builds indexes beside the present ones, then switches over; the lock must be held."""
        writer = self._write_connection()
        with journal.writing(writer):
            state = loaded(writer)
            epochs = (state.lexical_epoch + lexical, state.dense_epoch + dense)
            if lexical:
                batches = journal.batches(writer, self.spec.dimension, vectors=False)
                self._lexical.build(epochs[0], batches, state)
                journal.set_meta(writer, "lexical_epoch", epochs[0])
            if dense:
                batches = journal.batches(writer, self.spec.dimension, vectors=True)
                self._dense.build(epochs[1], batches, state)
                journal.set_meta(writer, "dense_epoch", epochs[1])
            if lexical:
                writer.execute("DELETE FROM garbage")
        self._lexical.tidy(epochs[0])
        self._dense.tidy(epochs[1])


def _batch(placed: Sequence[journal.Placed], swept: Sequence[journal.Span]) -> Batch:
    entries = [
        Entry(
            row=one.doc + at,
            passage_id=passage.id,
            words=f"{passage.title}\n{passage.text}",
            facets=wanted,
        )
        for one in placed
        for wanted in (facets(one.item.document.metadata),)
        for at, passage in enumerate(one.item.passages)
    ]
    vectors = [one.item.vectors for one in placed if len(one.item.passages)]
    return Batch(
        entries=entries,
        vectors=np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32),
        swept=swept,
    )


def _check_k(k: int) -> None:
    if k < 1:
        raise SettingsError(f"A search needs k >= 1, not {k!r}.")
