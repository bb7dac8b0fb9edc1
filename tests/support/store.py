"""Small documents with passages and random unit vectors for the tests of the store."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import (
    Candidates,
    Document,
    IndexedDocument,
    Passage,
    Scalar,
    passage_id,
)

DIMENSION = 8


def vector(seed: object) -> NDArray[np.float32]:
    """A random unit vector that follows from the seed alone."""
    random = np.random.default_rng(zlib.crc32(repr(seed).encode()))
    found = random.normal(size=DIMENSION)
    return (found / np.linalg.norm(found)).astype(np.float32)


def indexed(
    name: str,
    bodies: Sequence[str],
    *,
    title: str = "",
    meta: Mapping[str, Scalar] | None = None,
    vectors: Sequence[NDArray[np.float32]] | None = None,
    fingerprint: str = "",
) -> IndexedDocument:
    """A document whose passages are `bodies`; vectors follow from title and body."""
    text, passages = "", []
    for body in bodies:
        start, end = len(text), len(text) + len(body)
        identifier = passage_id(name, start, end)
        passages.append(
            Passage(id=identifier, document_id=name, start=start, end=end, title=title, text=body)
        )
        text += body + "\n"
    rows = [vector((title, body)) for body in bodies] if vectors is None else list(vectors)
    return IndexedDocument(
        document=Document(id=name, title=title, text=text, metadata=dict(meta or {})),
        passages=passages,
        vectors=np.array(rows, dtype=np.float32).reshape(len(bodies), DIMENSION),
        fingerprint=fingerprint or name,
    )


def new_store(root: Path, *, tenant: str = "default", **settings: str) -> Store:
    """An empty store of the tests' dimension."""
    spec = StoreSpec(embedder="test", dimension=DIMENSION, **settings)  # type: ignore[arg-type]
    return Store.create(root, spec, tenant=tenant)


_UNSEAL = {
    "catalogue.db": (
        "DELETE FROM meta WHERE key IN ('checksum', 'lexical_seal', 'dense_seal')",
        "DELETE FROM triple_crcs",
    ),
    "tree.db": ("DELETE FROM checks",),
}


def sql(root: Path, *statements: str, file: str = "catalogue.db", sealed: bool = False) -> None:
    """Changes a file of a store behind its back; each statement must change something.

    Unless it stays `sealed`, the file loses its checksums: as an earlier version left it.
    """
    connection = sqlite3.connect(root / "default" / file)
    with connection:
        for one in statements:
            assert connection.execute(one).rowcount != 0
        for one in () if sealed else _UNSEAL[file]:
            connection.execute(one)
    connection.close()


def ids(store: Store, found: Candidates) -> list[str]:
    """The passage ids of candidates; fails on a row that does not resolve."""
    passages = store.resolve(found.rows)
    assert None not in passages
    return [passage.id for passage in passages if passage is not None]


def texts(store: Store, found: Candidates) -> list[str]:
    """The passage texts of candidates."""
    return [passage.text for passage in store.resolve(found.rows) if passage is not None]
