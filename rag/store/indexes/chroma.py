"""Chroma dense index: embedded, one process, fed from the catalogue's outbox.

A second process corrupts an embedded Chroma or never sees its writes, so its folder is locked while
it is open. A write to two databases at once left 14 of 20 kills inconsistent; so what Chroma has to
learn is committed with the catalogue, applied after it, and struck off when done; opening replays
the rest. Its HNSW graph is approximate: it only picks candidates, which are scored again from the
catalogue's vectors, and where it returns too few the catalogue is scanned instead.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.errors import BackendRefused, StoreBusy, StoreDamaged
from hoptrail.rag.store.catalogue.database import Catalogue, Connection, known_vectors, vectors_of
from hoptrail.rag.store.catalogue.writes import facets_by_row, writing
from hoptrail.rag.store.indexes.base import Capabilities
from hoptrail.rag.store.indexes.temporary import copied, removed
from hoptrail.rag.store.indexes.vector_file import MARGIN, exact_scores
from hoptrail.rag.store.layout import can_write
from hoptrail.rag.store.locks import OwnedLock
from hoptrail.rag.store.types import NOTHING, Generation, IndexBatch, RowFilter, ranked
from hoptrail.rag.types import Candidates, Rows

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

TRAITS = Capabilities(multi_process=False, persistent=True, filters_before_ranking=True)

_COLLECTION = "passages"
_SPACE = "ip"
_LEAST_ASKED = 200
_TIMES_ASKED = 4
_SEARCH_WIDTH = 512
_PAGE = 2000


class ChromaIndex:
    """The Chroma collection as of one generation."""

    traits = TRAITS

    def __init__(
        self, collection: Collection, catalogue: Catalogue, dimension: int, state: Generation
    ) -> None:
        self._collection = collection
        self._catalogue = catalogue
        self._dimension = dimension
        self._state = state

    def search(self, vector: NDArray[np.float32], k: int, scope: RowFilter) -> Candidates:
        """The k best rows by inner product."""
        allowed = scope.rows() if scope.facets else np.flatnonzero(self._state.live)
        if not len(allowed):
            return NOTHING
        rows = np.intersect1d(self._nearest(vector, k, scope), allowed, assume_unique=True)
        rows, scores = self._scored(rows, vector)
        if len(rows) < len(allowed) and not _gap(scores, k):
            rows, scores = self._scored(allowed, vector)
        return ranked(rows, scores, k, scope.ties)

    def vectors(self, rows: Rows) -> NDArray[np.float32]:
        """The rows' vectors, from the catalogue; zeros where a row died in the meantime."""
        ordered, places = np.unique(rows, return_inverse=True)
        with self._catalogue.reading() as connection:
            known, found = known_vectors(connection, ordered, self._dimension)
        vectors = np.zeros((len(ordered), self._dimension), dtype=np.float32)
        vectors[np.searchsorted(ordered, known)] = found
        return vectors[places]

    def _nearest(self, vector: NDArray[np.float32], k: int, scope: RowFilter) -> Rows:
        from chromadb.errors import ChromaError  # noqa: PLC0415 - half a second to import

        wanted: list[Any] = [{facet: True} for facet in scope.facets]
        where = {"$and": wanted} if len(wanted) > 1 else next(iter(wanted), None)
        try:
            asked = min(self._collection.count(), max(_LEAST_ASKED, _TIMES_ASKED * k))
            if asked == 0:
                return np.empty(0, dtype=np.int64)
            found = self._collection.query(
                query_embeddings=vector[np.newaxis], n_results=asked, where=where, include=[]
            )
        except ChromaError as error:
            raise StoreDamaged(
                f"Chroma does not answer ({error}): run hoptrail fsck --repair."
            ) from error
        return np.array([int(one) for one in found["ids"][0]], dtype=np.int64)

    def _scored(self, rows: Rows, vector: NDArray[np.float32]) -> tuple[Rows, NDArray[np.float32]]:
        """The rows that still have a vector, and their exact scores."""
        known, scores = [], []
        for at in range(0, len(rows), _PAGE):
            with self._catalogue.reading() as connection:
                some, vectors = known_vectors(connection, rows[at : at + _PAGE], self._dimension)
            known.append(some)
            scores.append(exact_scores(vectors, np.arange(len(some)), vector))
        return np.concatenate([NOTHING.rows, *known]), np.concatenate([NOTHING.scores, *scores])


class ChromaBackend:
    """Keeps Chroma's folders of a tenant; each build has its own."""

    traits = TRAITS
    deferred = True

    def __init__(self, folder: Path, dimension: int, catalogue: Catalogue) -> None:
        self._folder = folder / "chroma"
        self._dimension = dimension
        self._catalogue = catalogue
        self._client: Any = None
        self._open: tuple[int, Collection] | None = None
        self._lock = OwnedLock(folder, "chroma")
        self._copy = None if can_write(folder) else copied(self._folder)
        if self._copy is not None:
            self._folder = Path(self._copy.name)
            return
        try:
            self._lock.acquire(0)
        except StoreBusy as error:
            raise BackendRefused(
                f"An embedded Chroma allows one process at a time. {error} "
                "For several processes, make a store with the exact index."
            ) from None

    def admit(self, passages: int) -> None:
        """Accepts any number of passages."""

    def lag(self, state: Generation) -> str | None:
        """The reason why the collection does not reflect the state; None if it does."""
        from chromadb.errors import ChromaError  # noqa: PLC0415

        if not self._path(state.dense_epoch).is_dir():
            return "Chroma's folder is missing" if state.passages else None
        try:
            collection = self._collection(state.dense_epoch)
            space = (collection.configuration_json.get("hnsw") or {}).get("space")
            held = collection.count()
        except (ChromaError, ValueError, OSError) as error:
            return f"Chroma's folder cannot be read ({error})"
        if space != _SPACE:
            return f"Chroma's collection has the space {space!r}, not {_SPACE!r}"
        if held < state.passages:
            return f"Chroma holds {held} of {state.passages} passages"
        return None

    def write(self, epoch: int, batch: IndexBatch) -> AbstractContextManager[None]:
        """Does nothing: changes go through the outbox, after the commit."""
        return nullcontext()

    def settle(self, writer: Connection) -> None:
        """Applies the outbox and deletes applied entries."""
        spans = writer.execute("SELECT first, rows, alive FROM outbox").fetchall()
        if not spans:
            return
        query = "SELECT value FROM meta WHERE key = 'dense_epoch'"
        collection = self._collection(writer.execute(query).fetchone()[0])
        for first, rows, alive in spans:
            span = np.arange(first, first + rows, dtype=np.int64)
            if alive:
                self._upsert(collection, writer, span)
            else:
                self._delete(collection, span)
        with writing(writer):
            writer.executemany("DELETE FROM outbox WHERE first = ?", [(one[0],) for one in spans])

    def reading(self, state: Generation) -> ChromaIndex:
        """The index of a generation."""
        collection = self._collection(state.dense_epoch)
        return ChromaIndex(collection, self._catalogue, self._dimension, state)

    def build(self, epoch: int, batches: Iterable[IndexBatch], state: Generation) -> None:
        """Writes a new collection of all live rows."""
        shutil.rmtree(self._path(epoch), ignore_errors=True)
        collection = self._collection(epoch)
        for batch in batches:
            tags = {entry.row: entry.facets for entry in batch.entries}
            self._put(collection, batch.vectors, tags)

    def audit(self, state: Generation) -> Iterator[tuple[int, int]]:
        """(row, CRC-32 of its vector) for each live row, as often as Chroma holds it."""
        collection = self._collection(state.dense_epoch)
        for at in range(0, collection.count(), _PAGE):
            page: Any = collection.get(limit=_PAGE, offset=at, include=["embeddings"])
            for one, vector in zip(page["ids"], page["embeddings"], strict=True):
                row = int(one)
                if row < len(state.live) and state.live[row]:
                    yield row, zlib.crc32(np.asarray(vector, dtype="<f4").tobytes())

    def seal(self, epoch: int) -> int | None:
        """Returns None: Chroma changes its files in place."""
        return None

    def damage(self, state: Generation, *, whole: bool) -> str | None:
        """Returns None: the vectors are compared with the catalogue by `audit`."""
        return None

    def bloated(self, epoch: int, rows: int, passages: int) -> bool:
        """Returns False: dead rows are deleted one by one."""
        return False

    def tidy(self, epoch: int) -> None:
        """Removes the folders of other builds."""
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path != self._path(epoch):
                    shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Closes Chroma and frees the folder for another process."""
        if self._client is not None:
            self._client.close()
        self._client = self._open = None
        self._lock.release()
        if self._copy is not None:
            removed(self._copy)

    def _upsert(self, collection: Collection, writer: Connection, span: Rows) -> None:
        tags = facets_by_row(writer, int(span[0]), len(span))
        # A later write may have killed some of them before this one was replayed.
        alive = np.array(sorted(tags), dtype=np.int64)
        self._put(collection, vectors_of(writer, alive, self._dimension), tags)

    def _put(
        self, collection: Collection, vectors: NDArray[np.float32], tags: dict[int, tuple[str, ...]]
    ) -> None:
        rows = sorted(tags)
        size = self._batch_size()
        for at in range(0, len(rows), size):
            some = rows[at : at + size]
            collection.upsert(
                ids=[str(row) for row in some],
                embeddings=vectors[at : at + size],
                metadatas=[dict.fromkeys(tags[row], True) or None for row in some],  # type: ignore[misc]
            )

    def _delete(self, collection: Collection, span: Rows) -> None:
        size = self._batch_size()
        for at in range(0, len(span), size):
            collection.delete(ids=[str(row) for row in span[at : at + size].tolist()])

    def _batch_size(self) -> int:
        assert self._client is not None
        size: int = self._client.get_max_batch_size()
        return size

    def _collection(self, epoch: int) -> Collection:
        if self._open is not None and self._open[0] == epoch:
            return self._open[1]
        import chromadb  # noqa: PLC0415
        from chromadb.config import Settings  # noqa: PLC0415

        if self._client is not None:
            self._client.close()
        self._path(epoch).mkdir(parents=True, exist_ok=True)
        self._client = chromadb.PersistentClient(
            str(self._path(epoch)), settings=Settings(anonymized_telemetry=False)
        )
        collection: Collection = self._client.get_or_create_collection(
            _COLLECTION,
            embedding_function=None,
            configuration={"hnsw": {"space": _SPACE, "ef_search": _SEARCH_WIDTH}},
        )
        self._open = (epoch, collection)
        return collection

    def _path(self, epoch: int) -> Path:
        return self._folder / str(epoch)


def _gap(scores: NDArray[np.float32], k: int) -> bool:
    """Whether k were found and the last is clearly below the k-th, so that no tie is missing."""
    if len(scores) < k:
        return False
    return bool(scores.min() < np.partition(scores, len(scores) - k)[len(scores) - k] - MARGIN)
