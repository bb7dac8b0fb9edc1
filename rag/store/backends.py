"""What a tenant's store is made of; the store, its upkeep and fsck all work on the same parts."""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.store.catalogue.database import Catalogue
from hoptrail.rag.store.indexes.base import DenseIndex, Keeper, LexicalIndex
from hoptrail.rag.store.indexes.chroma import ChromaKeeper
from hoptrail.rag.store.indexes.exact import ExactKeeper
from hoptrail.rag.store.indexes.rank_bm25 import OkapiKeeper
from hoptrail.rag.store.indexes.tantivy import TantivyKeeper
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.locks import WriterLock
from hoptrail.rag.store.spec import StoreSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One tenant's catalogue, lock, and the keepers of its two indexes."""

    layout: Layout
    spec: StoreSpec
    catalogue: Catalogue
    lock: WriterLock
    lexical: Keeper[LexicalIndex]
    dense: Keeper[DenseIndex]

    def close(self) -> None:
        """Frees every file, lock and connection."""
        self.lexical.close()
        self.dense.close()
        self.catalogue.close()


def assemble(layout: Layout, spec: StoreSpec) -> Parts:
    """The parts of a store that is there.

    Raises:
        BackendRefused: an index that allows one process is open in another.
    """
    catalogue = Catalogue(layout.catalogue)
    lexical: Keeper[LexicalIndex] = (
        TantivyKeeper(layout.folder, spec.language)
        if spec.lexical == "tantivy"
        else OkapiKeeper(catalogue, spec.language)
    )
    dense: Keeper[DenseIndex] = (
        ExactKeeper(layout.folder, spec.dimension)
        if spec.dense == "exact"
        else ChromaKeeper(layout.folder, spec.dimension, catalogue)
    )
    return Parts(
        layout=layout,
        spec=spec,
        catalogue=catalogue,
        lock=WriterLock(layout.folder),
        lexical=lexical,
        dense=dense,
    )
