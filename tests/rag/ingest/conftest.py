"""An empty store to ingest into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hoptrail.rag.store.store import Store, StoreSpec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open, empty store for vectors of the hash embedder."""
    with Store.create(tmp_path / "store", StoreSpec(embedder="hash-64", dimension=64)) as made:
        yield made
