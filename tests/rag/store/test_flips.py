"""Single bits flipped in every kind of file: never silent, never a traceback, mended or named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.store import sql
from support.tree import tree_file

from hoptrail import KnowledgeBase
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import HoptrailError, StoreDamaged
from hoptrail.rag.fsck import FsckReport, fsck
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.ingest.sentence_vectors import store_sentence_vectors
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.graph_index.triples import Triple
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.tree.builders.build import build_tree, default_spec
from hoptrail.rag.tree.leaves import StoreLeaves

EMBEDDER = HashEmbedder(16)
QUERIES = ("Which harbour did the ship Fram leave?", "Kestrel lighthouse keeper", "number 7")
NAMES = ("Fram", "Gjøa", "Maud", "Kestrel", "Belgica", "Discovery", "Endurance", "Nimrod")
PLACES = ("Oslo", "Tromsø", "Bergen", "Hull", "Leith", "Dundee")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """Two copies of one store: after it was closed, and as a kill leaves it, with its log."""

    closed: Path
    killed: Path
    found: list[object]
    """What searches and questions find in either."""


def fill(root: Path, files: Path) -> Store:
    files.mkdir()
    for number in range(24):
        name, place = NAMES[number % len(NAMES)], PLACES[number % len(PLACES)]
        (files / f"{name.lower()}-{number}.md").write_text(
            f"# {name} {number}\n\nThe ship {name} of number {number} left the harbour of {place}. "
            f"Its keeper saw the lighthouse of {PLACES[(number + 1) % len(PLACES)]}. " * 3
        )
    spec = StoreSpec(embedder=EMBEDDER.id, dimension=EMBEDDER.dimension)
    store = Store.create(root, spec)
    ingest([files], store, EMBEDDER)
    (files / "fram-0.md").unlink()
    some = next(iter(store.documents()))
    store.commit([], [some])
    store.compact()
    known = list(store.documents())
    store.import_triples(
        [
            Triple(document_id=one, subject="Fram", relation="left", object=PLACES[at % 6])
            for at, one in enumerate(known[:8])
        ]
    )
    store_sentence_vectors(store, EMBEDDER)
    leaves = StoreLeaves(store)
    tree_file(root).save(build_tree(leaves, default_spec(leaves, EMBEDDER.id)))
    return store


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    folder = tmp_path_factory.mktemp("flips")
    store = fill(folder / "store", folder / "files")
    shutil.copytree(folder / "store", folder / "killed")
    store.close()
    shutil.copytree(folder / "store", folder / "sound")
    found = [searched(folder / "sound"), asked(folder / "sound")]
    return Bases(closed=folder / "store", killed=folder / "killed", found=found)


def searched(root: Path) -> list[list[tuple[str, float, str]]]:
    with Store.open(root) as store:
        retriever = Retriever(store, EMBEDDER)
        return [
            [
                (hit.passage.id, hit.score, hit.passage.text)
                for mode in ("lexical", "dense", "graph")
                for hit in retriever.search(query, k=5, mode=mode).hits  # type: ignore[arg-type]
            ]
            for query in QUERIES
        ]


def asked(root: Path) -> object:
    with KnowledgeBase.open(root, embedder=EMBEDDER, keep_runs=False) as library:
        receipts = [library.ask(QUERIES[0], strategy=one) for one in ("pool", "lattice")]
    return [(one.answer, one.evidence) for one in receipts]


KINDS = {
    "catalogue": ("closed", "catalogue.db"),
    "log": ("killed", "catalogue.db-wal"),
    "tree": ("closed", "tree.db"),
    "segments": ("closed", "tantivy/*/*.*"),
    "postings": ("closed", "tantivy/*/*.idx"),
    "terms": ("closed", "tantivy/*/*.term"),
    "columns": ("closed", "tantivy/*/*.fast"),
    "segment list": ("closed", "tantivy/*/meta.json"),
    "managed files": ("closed", "tantivy/*/.managed.json"),
    "vectors": ("closed", "vectors-*.f32"),
    "slot map": ("closed", "vectors-*.rows.npy"),
    "copy of the settings": ("closed", "manifest.json"),
    "secret": ("closed", "secret"),
    "owner": ("closed", "writer.owner"),
}
PER_KIND = {"catalogue": 16, "log": 6, "tree": 5, "segments": 3}
FLIPS = [(kind, number) for kind in KINDS for number in range(PER_KIND.get(kind, 1))]


@pytest.mark.parametrize(("kind", "number"), FLIPS)
def test_a_flipped_bit_is_never_silent(
    bases: Bases, tmp_path: Path, kind: str, number: int
) -> None:
    base, pattern = KINDS[kind]
    draw = random.Random(f"{kind} {number}")
    source = bases.closed if base == "closed" else bases.killed
    root = tmp_path / "store"
    shutil.copytree(source, root)
    flip(sorted((root / "default").glob(pattern)), draw)

    found = [outcome(searched, root), outcome(asked, root)]
    report = outcome(fsck, root)
    if isinstance(report, FsckReport) and report.clean:
        assert found == bases.found
    mended = outcome(lambda folder: fsck(folder, repair=True, embedder=lambda: EMBEDDER), root)
    if not isinstance(mended, FsckReport):
        assert "Put back a copy" in str(mended)
        return
    if mended.clean:
        assert [searched(root), asked(root)] == bases.found
    else:
        # What is lost is named, and the store answers from the rest.
        assert all(not one.repairable for one in mended.problems)
        searched(root)
    assert {one.kind for one in fsck(root).problems} <= {"document", "passage", "triples"}


def test_a_record_under_another_number_is_named_and_the_rest_is_mended_at_once(
    bases: Bases, tmp_path: Path
) -> None:
    """Its passages belong to nobody then, and their sentences to no passage."""
    root = tmp_path / "store"
    shutil.copytree(bases.closed, root)
    with Store.open(root) as store:
        lost = next(iter(store.documents()))
    sql(root, f"UPDATE documents SET doc = 999 WHERE id = '{lost}'", sealed=True)
    report = fsck(root, repair=True, embedder=lambda: EMBEDDER)
    assert {(one.kind, one.document_id) for one in report.problems} == {
        ("document", lost), ("passage", lost),
    }  # fmt: skip
    assert {one.what for one in fsck(root).problems} == {one.what for one in report.problems}
    with Store.open(root) as store:
        assert lost not in {hit.passage.document_id for hit in Retriever(store, EMBEDDER).search(
            QUERIES[0], k=50, mode="lexical").hits}  # fmt: skip
        store.commit([], [lost])
    assert fsck(root).clean


@pytest.mark.parametrize("at", ["header", "cells", "definition"])
def test_damage_to_the_table_definitions_loses_nothing(
    bases: Bases, tmp_path: Path, at: str
) -> None:
    """They are on the first page of the file, without which SQLite reads no other."""
    root = tmp_path / "store"
    shutil.copytree(bases.closed, root)
    path = root / "default" / "catalogue.db"
    data = bytearray(path.read_bytes())
    data[{"header": 3, "cells": 103, "definition": data.index(b"CREATE TABLE texts") + 3}[at]] ^= 8
    path.write_bytes(data)
    assert isinstance(outcome(fsck, root), StoreDamaged)
    assert fsck(root, repair=True, embedder=lambda: EMBEDDER).clean
    assert [searched(root), asked(root)] == bases.found


def outcome(act: Callable[[Path], object], root: Path) -> object:
    """What it returns, or the typed error that it raises; any other error fails the test."""
    try:
        return act(root)
    except HoptrailError as error:
        return error


def flip(files: list[Path], draw: random.Random) -> None:
    path = draw.choice([one for one in files if one.stat().st_size])
    data = bytearray(path.read_bytes())
    # Pages of SQLite and the vector file have room in them that holds nothing. Drawn by place, not
    # among the used bytes: their number depends on the store's secret, and so would the flip.
    at, used = draw.randrange(len(data)), any(data)
    while used and not data[at]:
        at = draw.randrange(len(data))
    data[at] ^= 1 << draw.randrange(8)
    path.write_bytes(data)
