"""The data sets of the graph's measurements: as they are, without titles, without capitals."""

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
"""`untitled`: no passage has a title. `lower`: no letter of corpus and questions is a capital,
as in scripts that have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A data set and its store."""

    name: str
    """Of the set, whatever the variant."""
    dataset: Dataset
    store: PreparedStore
    variant: Variant


def prepared(folder: Path, variant: Variant, cache: StoreCache) -> Prepared:
    """A set in one variant, ingested for real; the store is kept for the next run.

    Raises:
        DatasetError, SettingsError, EmbedderError, StoreError: as loading and ingest raise them.
    """
    dataset = load_dataset(folder if variant == "whole" else _varied(folder, variant, cache.folder))
    return Prepared(
        name=folder.resolve().name,
        dataset=dataset,
        store=prepare_store(dataset, cache, _unheard),
        variant=variant,
    )


def recorded(folder: Path) -> Mapping[str, tuple[str, ...]]:
    """What another system retrieved, by question id; empty if the set has no such recording.

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
    """Writes the variant of a set beside the stores."""
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


def _unheard(_event: IngestEvent) -> None:
    """Ingest's events; which records failed is in the prepared store."""
