"""Stores of data sets, ingested once and kept: one for each corpus, embedder and choice of indexes.

A set goes through the real ingest, on every use: what is there already is skipped by its hash, so
a killed run is taken up and a change in how documents are split is seen.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from hoptrail.evals.datasets.types import Dataset
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.pipeline import IngestEvent, ingest
from hoptrail.rag.store.spec import DenseKind, LexicalKind
from hoptrail.rag.store.store import Store, StoreSpec

IngestListener = Callable[[IngestEvent], None]

_TENANT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCache:
    """Where stores of data sets are kept, and how they are made."""

    folder: Path
    embedder: Embedder
    lexical: LexicalKind = "tantivy"
    dense: DenseKind = "exact"
    language: str = "english"

    @property
    def spec(self) -> StoreSpec:
        """What a store is made with."""
        return StoreSpec(
            embedder=self.embedder.id,
            dimension=self.embedder.dimension,
            lexical=self.lexical,
            dense=self.dense,
            language=self.language,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStore:
    """A data set's corpus, ingested."""

    root: Path
    fingerprint: str
    """Equal for stores that hold the same passages, made and indexed in the same way."""
    documents: int
    passages: int
    missing: tuple[str, ...]
    """Ids of records that could not be ingested; the listener heard the reasons."""


def corpus_hash(dataset: Dataset) -> str:
    """SHA-256 (hex) of all records of a set, in order."""
    return _digest([[document.id, document.hash] for document in dataset.documents])


def prepare_store(dataset: Dataset, cache: StoreCache, on_event: IngestListener) -> PreparedStore:
    """The store of a set, made or brought up to date.

    A second process that wants the same store waits until the first has made it.

    Raises:
        SettingsError: the cache folder cannot be written, or a setting is wrong.
        EmbedderError, StoreError: as ingest raises them.
    """
    spec = cache.spec
    key = _digest([corpus_hash(dataset), _made(spec), cache.embedder.window])
    root = cache.folder / f"{dataset.name}-{key[:16]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"The store cache {str(cache.folder)!r} cannot be written ({error.strerror}): name "
            "another folder with --store-cache."
        ) from error
    with FileLock(root / ".preparing.lock"), _opened(root, spec, cache.embedder) as store:
        ingest([dataset.corpus], store, cache.embedder, on_event=on_event)
        held = store.fingerprints()
        return PreparedStore(
            root=root,
            fingerprint=_digest([_made(spec), sorted(held.items())]),
            documents=len(held),
            passages=store.stats().passages,
            missing=tuple(one.id for one in dataset.documents if one.id not in held),
        )


def _opened(root: Path, spec: StoreSpec, embedder: Embedder) -> Store:
    if (root / _TENANT).exists():
        return Store.open(root, tenant=_TENANT, embedder=embedder)
    return Store.create(root, spec, tenant=_TENANT)


def _made(spec: StoreSpec) -> dict[str, object]:
    """What sets stores apart; the passage graph, which each has, follows from the rest."""
    return {name: value for name, value in asdict(spec).items() if name != "graph"}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def add_cache_options(parser: argparse.ArgumentParser) -> None:
    """The options of whoever measures on the stores of data sets: --store-cache and --embedder."""
    parser.add_argument(
        "--store-cache",
        type=Path,
        metavar="DIR",
        default=Path.home() / ".cache" / "hoptrail" / "eval",
        help="where ingested sets are kept",
    )
    parser.add_argument("--embedder", default="minilm", metavar="NAME", help="default: minilm")
