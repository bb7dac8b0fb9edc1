"""Ingestion: files to parsed, chunked, embedded and committed documents."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.rag.ingest.pipeline import IngestReport, IngestSettings, ingest
    from hoptrail.rag.ingest.triples import TriplesReport, import_triples

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "pipeline": ["IngestReport", "IngestSettings", "ingest"],
        "triples": ["TriplesReport", "import_triples"],
    },
)

__all__ = ["IngestReport", "IngestSettings", "TriplesReport", "import_triples", "ingest"]
