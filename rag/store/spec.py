"""Creates a store; reads and checks the spec (backends, embedder, format) and secret of one."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.entities import extraction as entities
from hoptrail.rag.errors import (
    SettingsError,
    StoreBusy,
    StoreDamaged,
    StoreMismatch,
    StoreMissing,
)
from hoptrail.rag.store.catalogue.database import Catalogue, meta
from hoptrail.rag.store.catalogue.manifest import CHECKSUM, checksum, is_intact
from hoptrail.rag.store.catalogue.sqlite_file import address
from hoptrail.rag.store.layout import Layout, disk_errors
from hoptrail.rag.store.locks import OwnedLock
from hoptrail.rag.text.analyzer import analyzer

FORMAT = 1
"""Version of the store format; a store of another one is refused."""

LexicalKind = Literal["tantivy", "rank-bm25"]
DenseKind = Literal["exact", "chroma"]
GraphKind = Literal["links", "none"]

_UNFINISHED = ".new-"
"""How the name of a store begins that is not whole yet; no tenant's does, since it has a dot."""
_SECRET_BYTES = 32
_MOST_DIMENSIONS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Options of a new store: its indexes, its language, its passage graph."""

    lexical: LexicalKind = "tantivy"
    dense: DenseKind = "exact"
    language: str = "english"
    """Language of stop words and stems: see `rag.text.analyzer.LANGUAGES`."""
    graph: GraphKind = "links"
    """Whether the passages are linked by the names in them: see `graph_index.tables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSpec(StoreOptions):
    """The spec of a store: decided when it is made, and recorded in it."""

    embedder: str
    dimension: int
    format: int = FORMAT

    def check(self) -> None:
        """Raises SettingsError for an unknown or impossible setting."""
        analyzer(self.language)
        for name, value, known in (
            ("lexical index", self.lexical, get_args(LexicalKind)),
            ("dense index", self.dense, get_args(DenseKind)),
            ("graph", self.graph, get_args(GraphKind)),
        ):
            if value not in known:
                raise SettingsError(f"Unknown {name} {value!r}: use one of {', '.join(known)}.")
        if not 1 <= self.dimension <= _MOST_DIMENSIONS:
            raise SettingsError(
                f"A vector has 1 to {_MOST_DIMENSIONS} numbers, not {self.dimension!r}."
            )
        if self.format != FORMAT:
            raise SettingsError(
                f"This version writes stores of format {FORMAT}, not {self.format!r}."
            )


def create_store(layout: Layout, spec: StoreSpec) -> None:
    """Creates an empty store, whole or not at all.

    Raises:
        SettingsError: there is one already, or the spec is wrong.
    """
    layout.check()
    spec.check()
    if layout.folder.exists():
        raise SettingsError(
            f"There is a store at {str(layout.folder)!r} already: open it, or choose another place."
        )
    with disk_errors(layout.folder):
        layout.root.mkdir(parents=True, exist_ok=True)
        remove_unfinished(layout.root)
        building, lock = _founded(layout)
        try:
            _fill(building, layout.tenant, spec)
            _rename(building, layout.folder)
        finally:
            lock.release()
            shutil.rmtree(building, ignore_errors=True)


def remove_unfinished(root: Path) -> None:
    """Removes what processes left that were killed while they made a store.

    A folder whose lock is held belongs to a live process and stays.
    """
    for folder in root.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError, StoreBusy):
            lock = OwnedLock(folder, "writer")
            lock.acquire(0)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                lock.release()


def _founded(layout: Layout) -> tuple[Path, OwnedLock]:
    """A folder to make the store in, and its writer's lock, which is held.

    Between the two another process may take the folder for one that was left behind.
    """
    while True:
        folder = layout.root / f"{_UNFINISHED}{layout.tenant}-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        lock = OwnedLock(folder, "writer")
        with contextlib.suppress(FileNotFoundError, StoreBusy):
            lock.acquire(0)
            if (folder / "writer.lock").exists():
                folder.chmod(0o700)
                return folder, lock
            lock.release()


def read_spec(layout: Layout, embedder: Embedder | None) -> tuple[StoreSpec, bytes]:
    """Reads the spec and the secret of an existing store.

    Raises:
        StoreMissing, StoreMismatch, StoreDamaged: as their names say.
    """
    layout.check()
    remove_unfinished(layout.root)
    where = str(layout.root)
    if not layout.catalogue.is_file():
        raise StoreMissing(
            f"No store of tenant {layout.tenant!r} at {where!r}. Make one: "
            f"hoptrail ingest PATH... --store {where}"
        )
    spec = _spec(layout)
    if embedder is not None:
        check_embedder(spec, embedder, where)
    secret = layout.secret.read_bytes() if layout.secret.is_file() else b""
    if len(secret) != _SECRET_BYTES:
        raise StoreDamaged(
            f"The file {str(layout.secret)!r} is missing or cut short. Put back a copy of the "
            f"folder, or remove it and ingest again: hoptrail ingest PATH... --store {where}"
        )
    return spec, secret


def check_embedder(spec: StoreSpec, embedder: Embedder, where: str) -> None:
    """Raises StoreMismatch unless the embedder is the one the store was made with.

    Raises:
        StoreMismatch: it has another id or dimension.
    """
    if (embedder.id, embedder.dimension) != (spec.embedder, spec.dimension):
        raise StoreMismatch(
            f"The store at {where!r} was made with the embedder {spec.embedder!r} "
            f"({spec.dimension} dimensions), not {embedder.id!r} ({embedder.dimension}). Use that "
            "one, or ingest into a new store."
        )


def _fill(folder: Path, tenant: str, spec: StoreSpec) -> None:
    counters = ("generation", "next_row", "passages", "lexical_epoch", "dense_epoch")
    graph = {"graph_version": entities.VERSION, "graph_generation": 0}
    values = {"tenant": tenant, **dict.fromkeys(counters, 0), **graph, **asdict(spec)}
    values[CHECKSUM] = checksum(values)
    Catalogue.make(folder / "catalogue.db", values)
    descriptor = os.open(folder / "secret", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _rename(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise SettingsError(f"Another process just made a store at {str(folder)!r}.") from None
        raise
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _spec(layout: Layout) -> StoreSpec:
    connection = sqlite3.connect(address(layout.catalogue), uri=True, timeout=10.0)
    try:
        values = meta(connection)
    finally:
        connection.close()
    if values.get("format") != FORMAT:
        raise StoreMismatch(
            f"The store at {str(layout.root)!r} has format {values.get('format')!r}; this version "
            f"reads {FORMAT}. Ingest into a new store, or use the version that made it."
        )
    if not is_intact(values):
        raise StoreDamaged(
            f"The settings of the store at {str(layout.root)!r} have changed under their "
            f"checksum: run hoptrail fsck --repair {layout.root!s}"
        )
    names = ("embedder", "dimension", "lexical", "dense", "language", "format")
    # A store of a version that had no graph says nothing about it, and gets one on opening.
    made_with = {name: values.get(name) for name in names} | {"graph": values.get("graph", "links")}
    try:
        spec = StoreSpec(**made_with)  # type: ignore[arg-type]
        spec.check()
    except (TypeError, SettingsError) as error:
        raise StoreDamaged(
            f"The settings of the store at {str(layout.root)!r} cannot be read ({error}): run "
            f"hoptrail fsck --repair {layout.root!s}"
        ) from error
    return spec
