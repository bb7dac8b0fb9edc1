"""Documents in, ranked passages out: stores, ingestion, search, the passage graph, the tree.

Synchronous, and without agents or language models. What is exported here is loaded when first used.
`hoptrail.rag.ingest` has `ingest`, `hoptrail.rag.fsck` has `fsck`: here those names are modules.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.embedders.loading import load_embedder
    from hoptrail.rag.errors import (
        BackendRefused,
        EmbedderError,
        HoptrailError,
        ModelError,
        ParseError,
        SettingsError,
        StoreBusy,
        StoreDamaged,
        StoreError,
        StoreFull,
        StoreMismatch,
        StoreMissing,
        StoreReadOnly,
        TreeMismatch,
        TreeMissing,
    )
    from hoptrail.rag.fsck import FsckReport
    from hoptrail.rag.ingest.pipeline import IngestReport, IngestSettings
    from hoptrail.rag.retrieval.fusion import MinMaxFusion, ReciprocalRankFusion
    from hoptrail.rag.retrieval.retriever import Retriever
    from hoptrail.rag.store.spec import StoreOptions, StoreSpec
    from hoptrail.rag.store.store import Store, StoreStats
    from hoptrail.rag.types import Document, Hit, Mode, Passage, Ranking, Via, Where

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "embedders.base": ["Embedder"],
        "embedders.loading": ["load_embedder"],
        "errors": [
            "BackendRefused",
            "EmbedderError",
            "HoptrailError",
            "ModelError",
            "ParseError",
            "SettingsError",
            "StoreBusy",
            "StoreDamaged",
            "StoreError",
            "StoreFull",
            "StoreMismatch",
            "StoreMissing",
            "StoreReadOnly",
            "TreeMismatch",
            "TreeMissing",
        ],
        "fsck": ["FsckReport"],
        "ingest.pipeline": ["IngestReport", "IngestSettings"],
        "retrieval.fusion": ["MinMaxFusion", "ReciprocalRankFusion"],
        "retrieval.retriever": ["Retriever"],
        "store.spec": ["StoreOptions", "StoreSpec"],
        "store.store": ["Store", "StoreStats"],
        "types": ["Document", "Hit", "Mode", "Passage", "Ranking", "Via", "Where"],
    },
)

__all__ = [
    "BackendRefused",
    "Document",
    "Embedder",
    "EmbedderError",
    "FsckReport",
    "Hit",
    "HoptrailError",
    "IngestReport",
    "IngestSettings",
    "MinMaxFusion",
    "Mode",
    "ModelError",
    "ParseError",
    "Passage",
    "Ranking",
    "ReciprocalRankFusion",
    "Retriever",
    "SettingsError",
    "Store",
    "StoreBusy",
    "StoreDamaged",
    "StoreError",
    "StoreFull",
    "StoreMismatch",
    "StoreMissing",
    "StoreOptions",
    "StoreReadOnly",
    "StoreSpec",
    "StoreStats",
    "TreeMismatch",
    "TreeMissing",
    "Via",
    "Where",
    "load_embedder",
]
