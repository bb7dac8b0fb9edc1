"""The corpus tree (LATTICE, arXiv 2510.13217): types, storage, builders, updates and search."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.rag.tree.builders.build import build_tree
    from hoptrail.rag.tree.search.best_first import TreeSearch, run_search
    from hoptrail.rag.tree.search.types import TreeSearchSettings
    from hoptrail.rag.tree.types import Tree
    from hoptrail.rag.tree.view import load_tree, sync_stored_tree

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "builders.build": ["build_tree"],
        "search.best_first": ["TreeSearch", "run_search"],
        "search.types": ["TreeSearchSettings"],
        "types": ["Tree"],
        "view": ["load_tree", "sync_stored_tree"],
    },
)

__all__ = [
    "Tree",
    "TreeSearch",
    "TreeSearchSettings",
    "build_tree",
    "load_tree",
    "run_search",
    "sync_stored_tree",
]
