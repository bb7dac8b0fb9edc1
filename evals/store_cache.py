"""Cache of ingested data sets: one store for each corpus, embedder and choice of indexes.

A data set goes through the real ingest on every use: documents that are there already are skipped
by their hash, so a killed ingest is continued and a change in chunking is noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from filelock import FileLock

from hoptrail.evals.datasets.types import Dataset
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.pipeline import IngestEvent, IngestSettings, ingest
from hoptrail.rag.store.spec import DenseKind, LexicalKind
from hoptrail.rag.store.store import Store, StoreSpec

IngestListener = Callable[[IngestEvent], None]

DEFAULT_FOLDER = Path.home() / ".cache" / "hoptrail" / "eval"
_TENANT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCache:
    """Folder of the cached stores, and the embedder and indexes they are made with."""

    folder: Path
    embedder: Embedder
    lexical: LexicalKind = "tantivy"
    dense: DenseKind = "exact"
    language: str = "english"

    @classmethod
    def default(cls) -> Self:
        """The user's cache folder, with the default embedder.

        Raises:
            EmbedderError: its weights are not found.
        """
        return cls(folder=DEFAULT_FOLDER, embedder=load_embedder())

    @property
    def spec(self) -> StoreSpec:
        """Specification of a new store."""
        return StoreSpec(
            embedder=self.embedder.id,
            dimension=self.embedder.dimension,
            lexical=self.lexical,
            dense=self.dense,
            language=self.language,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStore:
    """Ingested corpus of a data set."""

    root: Path
    fingerprint: str
    """SHA-256 (hex) of the specification and the documents' fingerprints."""
    documents: int
    passages: int
    missing: tuple[str, ...]
    """Ids of records that could not be ingested; the listener got the reasons."""


def corpus_hash(dataset: Dataset) -> str:
    """SHA-256 (hex) of all records of a set, in order."""
    return _digest([[document.id, document.hash] for document in dataset.documents])


def prepare_store(dataset: Dataset, cache: StoreCache, on_event: IngestListener) -> PreparedStore:
    """Creates the store of a data set, or brings it up to date.

    A second process that wants the same store waits until the first has made it.

    Raises:
        SettingsError: the cache folder cannot be written, or a setting is wrong.
        EmbedderError, StoreError: as ingest raises them.
    """
    spec = cache.spec
    key = _digest([corpus_hash(dataset), _spec_fields(spec), cache.embedder.window])
    root = cache.folder / f"{dataset.name}-{key[:16]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The store cache {str(cache.folder)!r} cannot be written ({error.strerror}): name "
            "another folder with --store-cache."
        ) from error
    with FileLock(root / ".preparing.lock"), _open_or_create(root, spec, cache.embedder) as store:
        # The store is that of the records, wherever their file lies.
        settings = IngestSettings(take_over=True)
        ingest([dataset.corpus], store, cache.embedder, settings, on_event)
        held = store.fingerprints()
        return PreparedStore(
            root=root,
            fingerprint=_digest([_spec_fields(spec), sorted(held.items())]),
            documents=len(held),
            passages=store.stats().passages,
            missing=tuple(one.id for one in dataset.documents if one.id not in held),
        )


def _open_or_create(root: Path, spec: StoreSpec, embedder: Embedder) -> Store:
    if (root / _TENANT).exists():
        return Store.open(root, tenant=_TENANT, embedder=embedder)
    return Store.create(root, spec, tenant=_TENANT)


def _spec_fields(spec: StoreSpec) -> dict[str, object]:
    """Fields of a specification that tell cached stores apart; all have the same graph setting."""
    return {name: value for name, value in asdict(spec).items() if name != "graph"}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options --store-cache and --embedder of benchmarks and regression thresholds."""
    parser.add_argument(
        "--store-cache",
        type=Path,
        metavar="DIR",
        default=DEFAULT_FOLDER,
        help="where ingested data sets are kept",
    )
    parser.add_argument("--embedder", default="minilm", metavar="NAME", help="default: minilm")
