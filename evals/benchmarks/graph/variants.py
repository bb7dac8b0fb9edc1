"""Variants of the data sets for the graph benchmark: whole, without titles, in lower case."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Dataset, DatasetError
from hoptrail.evals.store_cache import PreparedStore, StoreCache, prepare_store
from hoptrail.rag.ingest.pipeline import IngestEvent

Variant = Literal["whole", "untitled", "lower"]
"""`whole`: as it is. `untitled`: no passage has a title. `lower`: corpus and questions in lower
case, as in scripts without capitals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVariant:
    """Data set in one variant, and its store."""

    name: str
    """Name of the original set."""
    dataset: Dataset
    store: PreparedStore
    variant: Variant


def prepare_variant(folder: Path, variant: Variant, cache: StoreCache) -> PreparedVariant:
    """Loads a data set in one variant and ingests it; the store is kept for the next run.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    dataset = load_dataset(folder if variant == "whole" else _varied(folder, variant, cache.folder))
    return PreparedVariant(
        name=folder.resolve().name,
        dataset=dataset,
        store=prepare_store(dataset, cache, _ignore_event),
        variant=variant,
    )


def recorded(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """Recorded rankings of another system, record ids by question id; empty if the set has none.

    Read from the files `llm_*.jsonl` (perhaps gzipped) whose lines have `question_id` and
    `retrieved_ids`, best first.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.glob("llm_*.jsonl*")):
        for line in _lines(path):
            if line.get("retrieved_ids"):
                found[line["question_id"]] = tuple(line["retrieved_ids"])
    return found


def _varied(folder: Path, variant: Variant, cache: Path) -> Path:
    """Writes the variant of a data set into the cache folder."""
    made = cache / "variants" / f"{folder.resolve().name}-{variant}"
    made.mkdir(parents=True, exist_ok=True)
    for stem in ("corpus", "questions"):
        paths = sorted(folder.glob(f"{stem}.jsonl*"))
        if not paths:
            raise DatasetError(f"{str(folder)!r} is no data set: it lacks {stem}.jsonl.")
        changed = (json.dumps(_changed(line, variant)) + "\n" for line in _lines(paths[0]))
        (made / f"{stem}.jsonl").write_text("".join(changed), encoding="utf-8")
    return made


def _changed(line: dict, variant: Variant) -> dict:  # type: ignore[type-arg]
    if variant == "untitled":
        return {**line, "title": ""} if "text" in line else line
    lowered = {key: line[key].lower() for key in ("title", "text", "question") if key in line}
    return {**line, **lowered}


def _lines(path: Path) -> Iterator[dict]:  # type: ignore[type-arg]
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _ignore_event(_event: IngestEvent) -> None:
    """Ignores an ingest event; `PreparedStore.missing` has the records that failed."""
