"""The store of one tenant: documents, passages and vectors, and the indexes derived from them."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.rag.store.spec import StoreOptions, StoreSpec
    from hoptrail.rag.store.store import Store, StoreStats

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "spec": ["StoreOptions", "StoreSpec"],
        "store": ["Store", "StoreStats"],
    },
)

__all__ = ["Store", "StoreOptions", "StoreSpec", "StoreStats"]
