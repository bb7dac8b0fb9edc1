"""Backends of a tenant's store: which index a backend's name stands for, all opened together.

The store, its maintenance and fsck work on the same parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.store.catalogue.database import Catalogue
from hoptrail.rag.store.indexes.base import DenseIndex, IndexBackend, LexicalIndex
from hoptrail.rag.store.indexes.chroma import ChromaBackend
from hoptrail.rag.store.indexes.exact import ExactBackend
from hoptrail.rag.store.indexes.rank_bm25 import RankBm25Backend
from hoptrail.rag.store.indexes.tantivy import TantivyBackend
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.locks import WriterLock
from hoptrail.rag.store.spec import StoreSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The open catalogue, lock and two index backends of one tenant."""

    layout: Layout
    spec: StoreSpec
    catalogue: Catalogue
    lock: WriterLock
    lexical: IndexBackend[LexicalIndex]
    dense: IndexBackend[DenseIndex]

    def close(self) -> None:
        """Frees every file, lock and connection."""
        self.lexical.close()
        self.dense.close()
        self.catalogue.close()


def open_backends(layout: Layout, spec: StoreSpec) -> Backends:
    """Opens the backends of an existing store.

    Raises:
        BackendRefused: an index that allows one process is open in another.
    """
    catalogue = Catalogue(layout.catalogue)
    lexical: IndexBackend[LexicalIndex] = (
        TantivyBackend(layout.folder, spec.language)
        if spec.lexical == "tantivy"
        else RankBm25Backend(catalogue, spec.language)
    )
    dense: IndexBackend[DenseIndex] = (
        ExactBackend(layout.folder, spec.dimension)
        if spec.dense == "exact"
        else ChromaBackend(layout.folder, spec.dimension, catalogue)
    )
    return Backends(
        layout=layout,
        spec=spec,
        catalogue=catalogue,
        lock=WriterLock(layout.folder),
        lexical=lexical,
        dense=dense,
    )
