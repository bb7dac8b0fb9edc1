"""A store of a few documents; each test file says which, in its own fixture `documents`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.store import new_store

from hoptrail.rag.store.store import Store
from hoptrail.rag.types import IndexedDocument


@pytest.fixture
def documents() -> Sequence[IndexedDocument]:
    """The documents of the store's first commit; a file may define others."""
    return ()


@pytest.fixture
def store(tmp_path: Path, documents: Sequence[IndexedDocument]) -> Iterator[Store]:
    """An open store of `documents` in the test's own folder."""
    with new_store(tmp_path) as made:
        if documents:
            made.commit(documents)
        yield made
