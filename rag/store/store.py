"""The store of one tenant: an SQLite catalogue, and the indexes derived from it.

One writer at a time (a lock that names its owner), any number of readers in other processes, each
of which sees a committed generation on its next call. Order of a commit: allocate row numbers;
vectors and their fdatasync; the lexical index and its commit; the catalogue's commit, which alone
makes the change visible. So a crash at any point leaves either the old documents or the new ones;
rows that never became alive are removed by a later write.

A `Store` is thread-safe: every call borrows a database connection of its own, and the view that
threads share in memory (`snapshot`) is replaced, never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.backends import Backends, open_backends
from hoptrail.rag.store.catalogue import database as catalogue
from hoptrail.rag.store.catalogue.database import Connection
from hoptrail.rag.store.catalogue.origins import OriginTable
from hoptrail.rag.store.catalogue.sentence_table import SentenceTable
from hoptrail.rag.store.commit import (
    CommitRequest,
    check_deletes,
    check_puts,
    commit,
    commit_extractions,
    import_triples,
)
from hoptrail.rag.store.graph_index.tables import extracted
from hoptrail.rag.store.graph_index.triples import (
    Extraction,
    ImportResult,
    PendingPassages,
    SaveResult,
    Triple,
    check_extractions,
    check_triples,
    unread,
)
from hoptrail.rag.store.layout import Layout, disk_errors
from hoptrail.rag.store.maintenance import compact, compact_if_bloated, rebuild_stale
from hoptrail.rag.store.snapshot import Snapshot, ViewCache, check_graph
from hoptrail.rag.store.spec import FORMAT, StoreSpec, create_store, read_spec
from hoptrail.rag.store.types import StoreStats
from hoptrail.rag.types import EVERYTHING, Candidates, Document, IndexedDocument, Passage, Where

__all__ = ["FORMAT", "Store", "StoreSpec", "StoreStats"]


class Store:
    """A tenant's documents with a lexical index, a dense index and a passage graph."""

    def __init__(self, parts: Backends, secret: bytes, wait: float) -> None:
        """Use `Store.create` or `Store.open`."""
        self.spec = parts.spec
        self.root = parts.layout.root
        self.tenant = parts.layout.tenant
        self.secret = secret
        self._parts = parts
        self._views = ViewCache(parts)
        self._errors = disk_errors(parts.layout.folder)
        self._wait = wait
        self.sentences = SentenceTable(
            parts.catalogue, parts.lock, self._errors, dimension=parts.spec.dimension, wait=wait
        )
        self.origins = OriginTable(parts.catalogue, parts.lock, self._errors, wait=wait)
        self._writer: Connection | None = None

    @classmethod
    def create(cls, root: Path, spec: StoreSpec, *, tenant: str = "default") -> Self:
        """Makes an empty store and opens it.

        Raises:
            SettingsError: the tenant has a store already, or a setting is wrong.
        """
        layout = Layout(root=Path(root), tenant=tenant)
        create_store(layout, spec)
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
        """Opens a store, and rebuilds from its catalogue any derived index that lags behind.

        Args:
            root: the folder of all tenants.
            tenant: 1 to 64 of a-z, 0-9, - and _.
            embedder: checked against the one the store was made with.
            wait: seconds that a write waits for another writer.

        Raises:
            StoreMissing: there is no store.
            StoreMismatch: another embedder, dimension or format.
            StoreDamaged: the catalogue cannot be read.
        """
        layout = Layout(root=Path(root), tenant=tenant)
        with disk_errors(layout.folder):
            spec, secret = read_spec(layout, embedder)
            parts = open_backends(layout, spec)
            try:
                rebuild_stale(parts, wait)
            except BaseException:
                parts.close()
                raise
        return cls(parts, secret, wait)

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
        self._parts.close()
        self._writer = None

    @property
    def linked(self) -> bool:
        """Whether the store has a passage graph."""
        return self.spec.graph == "links"

    @property
    def generation(self) -> int:
        """Number of the newest commit; 0 before the first."""
        return self._views.newest().state.generation

    def commit(self, puts: Sequence[IndexedDocument], deletes: Collection[str] = ()) -> int:
        """Replaces each document as a whole and deletes others, all at once or not at all.

        Args:
            puts: documents with passages and vectors; one may have no passage.
            deletes: document ids; unknown ones are skipped.

        Returns:
            The generation that has the change; the present one if there was nothing to change.

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
        # Before the lock is taken: it is work for the processor that no other writer need wait for.
        traces = extracted(puts) if self.spec.graph == "links" else None
        change = CommitRequest(puts=puts, deletes=deletes, traces=traces)
        with self._parts.lock.held(self._wait), self._errors:
            writer = self._write_connection()
            generation = commit(self._parts, writer, change)
            compact_if_bloated(self._parts, writer)
            return generation

    def import_triples(self, triples: Sequence[Triple]) -> ImportResult:
        """Adds triples that a language model extracted from passages to the graph, in one commit.

        A triple that is there already is not added again. Triples go away with their document.

        Raises:
            BackendRefused: the store has no passage graph.
            SettingsError: a triple that is empty in a part, or is not valid Unicode.
            StoreBusy, StoreFull: as for `commit`.
        """
        check_graph(self.spec)
        check_triples(triples)
        with self._parts.lock.held(self._wait), self._errors:
            return import_triples(self._write_connection(), triples)

    def unread(self, model: str) -> PendingPassages:
        """The passages from which a model has not extracted triples yet.

        Raises:
            BackendRefused: the store has no passage graph.
        """
        check_graph(self.spec)
        with self._reading() as connection, catalogue.snapshot(connection):
            return unread(connection, model)

    def save_extractions(self, model: str, readings: Sequence[Extraction]) -> SaveResult:
        """Saves a model's extractions, and which passages it has read, in one commit.

        Raises:
            BackendRefused: the store has no passage graph.
            SettingsError: the model has no name, or a triple says nothing.
            StoreBusy, StoreFull: as for `commit`.
        """
        check_graph(self.spec)
        check_extractions(model, readings)
        with self._parts.lock.held(self._wait), self._errors:
            return commit_extractions(self._write_connection(), model, readings)

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every document by id."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT id, fingerprint FROM documents").fetchall())

    def document(self, identifier: str) -> Document | None:
        """The document of an id; None if there is none."""
        with self._reading() as connection:
            return catalogue.document(connection, identifier)

    def documents(self, after: str = "") -> Iterator[str]:
        """The ids of all documents that come after an id, ascending."""
        last = after
        query = "SELECT id FROM documents WHERE id > ? ORDER BY id LIMIT 1000"
        while True:
            with (
                self._errors,
                self._parts.catalogue.reading() as connection,
            ):
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
        with self._reading() as connection:
            return catalogue.text_slice(connection, document_id, start, max(start, end))

    def passages(self, ids: Sequence[str]) -> tuple[Passage | None, ...]:
        """The passages of the ids, in their order; None for an unknown one."""
        with self._reading() as connection:
            known = catalogue.passages_where(connection, "id", list(ids))
        return tuple(known.get(one) for one in ids)

    def passages_of(self, document_id: str) -> tuple[Passage, ...]:
        """A document's passages by start; empty for an unknown document."""
        with self._reading() as connection:
            return catalogue.passages_of(connection, document_id)

    def resolve(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Passage | None, ...]:
        """The passages of the rows, in their order; None where a row has died meanwhile."""
        numbers = rows.tolist() if isinstance(rows, np.ndarray) else list(rows)
        with self._reading() as connection:
            known = catalogue.passages_where(connection, "row", numbers)
        return tuple(known.get(row) for row in numbers)

    def snapshot(self) -> Snapshot:
        """The newest generation, for several searches that see the same passages."""
        with self._errors:
            return Snapshot(self._views, self.spec, self._errors)

    def lexical(self, query: str, k: int, where: Where = EVERYTHING) -> Candidates:
        """The k best rows by BM25; none for a query without a word that counts.

        The query is data: no character of it is syntax.

        Raises:
            SettingsError: k < 1, or a filter value that is no scalar.
        """
        return self.snapshot().lexical(query, k, where)

    def dense(self, vector: NDArray[np.float32], k: int, where: Where = EVERYTHING) -> Candidates:
        """The k best rows by inner product with an L2-normalised (dimension,) float32 vector.

        Raises:
            SettingsError: k < 1, a vector of another shape, or a filter value that is no scalar.
        """
        return self.snapshot().dense(vector, k, where)

    def spans(self) -> tuple[int, NDArray[np.int64]]:
        """The generation, and (first row, rows in order) of each document that has passages."""
        with self._reading() as connection:
            return catalogue.spans(connection)

    def stats(self) -> StoreStats:
        """Counts, size and settings."""
        with self._reading() as connection:
            documents, passages, generation, triples = connection.execute(
                "SELECT (SELECT count(*) FROM documents), "
                "(SELECT coalesce(sum(rows), 0) FROM documents), "
                "(SELECT value FROM meta WHERE key = 'generation'), "
                "(SELECT count(*) FROM triples)"
            ).fetchone()
        return StoreStats(
            tenant=self.tenant,
            documents=documents,
            passages=passages,
            generation=generation,
            bytes=self._parts.layout.size(),
            embedder=self.spec.embedder,
            dimension=self.spec.dimension,
            lexical=self.spec.lexical,
            dense=self.spec.dense,
            language=self.spec.language,
            graph=self.spec.graph,
            triples=triples,
            format=self.spec.format,
        )

    def compact(self) -> None:
        """Rebuilds both indexes without dead rows, and frees their space on disk.

        Readers go on meanwhile; they change over on their next call.

        Raises:
            StoreBusy: another writer held the lock for `wait` seconds.
            StoreFull: no space for the new files; the old ones stay in use.
        """
        with self._parts.lock.held(self._wait), self._errors:
            compact(self._parts, self._write_connection())

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with (
            self._errors,
            self._parts.catalogue.reading() as connection,
        ):
            yield connection

    def _write_connection(self) -> Connection:
        if self._writer is None:
            self._writer = self._parts.catalogue.connect()
        return self._writer
