"""Index maintenance: rebuild what lags behind the catalogue, compact dead rows away."""

from __future__ import annotations

import logging

from hoptrail.rag.store.backends import Backends
from hoptrail.rag.store.catalogue import writes as journal
from hoptrail.rag.store.catalogue.database import Connection, snapshot
from hoptrail.rag.store.catalogue.manifest import save_manifest
from hoptrail.rag.store.graph_index import tables as linking
from hoptrail.rag.store.indexes.base import DenseIndex, IndexBackend, LexicalIndex
from hoptrail.rag.store.layout import is_index_failure
from hoptrail.rag.store.snapshot import load_generation
from hoptrail.rag.store.types import Generation

_LOG = logging.getLogger(__name__)


def rebuild_stale(parts: Backends, wait: float) -> None:
    """Rebuilds the indexes that lag behind the catalogue; takes the writer's lock only then.

    Raises:
        StoreBusy: a rebuild is needed and a writer held the lock for `wait` seconds.
    """
    if _sound(parts, _state(parts)):
        return
    with parts.lock.held(wait):
        writer = parts.catalogue.connect()
        parts.dense.settle(writer)
        # Another process may have rebuilt it while this one waited.
        state = _state(parts)
        lexical, dense = index_fault(parts.lexical, state), index_fault(parts.dense, state)
        graph = linking.staleness(writer, parts.spec.graph)
        for reason in filter(None, (lexical, dense, graph)):
            _LOG.warning("%s: %s; building it anew", parts.layout.folder, reason)
        rebuild(
            parts,
            writer,
            lexical=lexical is not None,
            dense=dense is not None,
            graph=graph is not None,
        )


def index_fault(
    backend: IndexBackend[LexicalIndex] | IndexBackend[DenseIndex],
    state: Generation,
    *,
    whole: bool = False,
) -> str | None:
    """The reason why an index must be built anew; None: there is none.

    Args:
        backend: the index; whatever error it raises is a reason.
        state: what it should reflect.
        whole: check all of its files, not only what takes some milliseconds.
    """
    try:
        # First: a library that opens damaged files may end the process.
        return backend.damage(state, whole=whole) or backend.lag(state)
    except BaseException as error:
        if not is_index_failure(error):
            raise
        return f"an index cannot be opened ({error})"


def rebuild(
    parts: Backends,
    writer: Connection,
    *,
    lexical: bool = False,
    dense: bool = False,
    graph: bool = False,
) -> None:
    """Builds new indexes beside the present ones, then switches over; the lock must be held.

    Readers that have the old files open go on reading them until their next call; the graph is part
    of the catalogue, so it changes for them when its transaction commits.
    """
    if graph:
        with journal.writing(writer):
            linking.build(writer, parts.spec.graph)
    if not lexical and not dense:
        return
    dimension = parts.spec.dimension
    with journal.writing(writer):
        state = load_generation(writer)
        epochs = (state.lexical_epoch + lexical, state.dense_epoch + dense)
        if lexical:
            rows = journal.live_batches(writer, dimension, vectors=False)
            parts.lexical.build(epochs[0], rows, state)
            journal.put_seal(writer, "lexical_seal", parts.lexical.seal(epochs[0]))
            journal.set_meta(writer, "lexical_epoch", epochs[0])
            writer.execute("DELETE FROM garbage")
        if dense:
            rows = journal.live_batches(writer, dimension, vectors=True)
            parts.dense.build(epochs[1], rows, state)
            journal.put_seal(writer, "dense_seal", parts.dense.seal(epochs[1]))
            journal.set_meta(writer, "dense_epoch", epochs[1])
            writer.execute("DELETE FROM outbox")
    parts.lexical.tidy(epochs[0])
    parts.dense.tidy(epochs[1])


def compact_if_bloated(parts: Backends, writer: Connection) -> None:
    """Rebuilds the dense index once most of its rows are dead; the lock must be held.

    Its cost is that of rewriting the live rows, after at least as many have died.
    """
    epoch, rows, passages = (
        journal.number(writer, key) for key in ("dense_epoch", "next_row", "passages")
    )
    if parts.dense.bloated(epoch, rows, passages):
        rebuild(parts, writer, dense=True)


def compact(parts: Backends, writer: Connection) -> None:
    """Rebuilds both indexes without dead rows and frees the space; the lock must be held.

    The graph has no dead rows.
    """
    rebuild(parts, writer, lexical=True, dense=True)
    writer.execute("VACUUM")
    save_manifest(writer)  # the tables lie at other pages now
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sound(parts: Backends, state: Generation) -> bool:
    with parts.catalogue.reading() as connection:
        pending = connection.execute("SELECT 1 FROM outbox LIMIT 1").fetchone()
        graph = linking.staleness(connection, parts.spec.graph)
    lags = index_fault(parts.lexical, state), index_fault(parts.dense, state), graph
    return pending is None and lags == (None, None, None)


def _state(parts: Backends) -> Generation:
    with parts.catalogue.reading() as connection, snapshot(connection):
        return load_generation(connection)
