"""Which index a store's spec names."""

from __future__ import annotations

from hoptrail.rag.catalogue import Catalogue
from hoptrail.rag.founding import StoreSpec
from hoptrail.rag.indexes.exact import ExactKeeper
from hoptrail.rag.indexes.tantivy import TantivyKeeper
from hoptrail.rag.layout import Layout
from hoptrail.rag.protocols import DenseIndex, Keeper, LexicalIndex


def lexical_keeper(spec: StoreSpec, layout: Layout, catalogue: Catalogue) -> Keeper[LexicalIndex]:
    """The keeper of the lexical index."""
    return TantivyKeeper(layout.folder, spec.language)


def dense_keeper(spec: StoreSpec, layout: Layout, catalogue: Catalogue) -> Keeper[DenseIndex]:
    """The keeper of the dense index."""
    return ExactKeeper(layout.folder, spec.dimension)
