"""What a tenant's store is made of; the store, its upkeep and fsck all work on the same parts."""

from __future__ import annotations

from dataclasses import dataclass

from hoptrail.rag.catalogue import Catalogue
from hoptrail.rag.founding import StoreSpec
from hoptrail.rag.indexes.chroma import ChromaKeeper
from hoptrail.rag.indexes.exact import ExactKeeper
from hoptrail.rag.indexes.okapi import OkapiKeeper
from hoptrail.rag.indexes.tantivy import TantivyKeeper
from hoptrail.rag.layout import Layout
from hoptrail.rag.locks import WriterLock
from hoptrail.rag.protocols import DenseIndex, Keeper, LexicalIndex


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
