"""Checksums: what changed under one is found, and mended or named; what has none gains it."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.store import indexed, new_store, sql, texts

from hoptrail.rag.errors import StoreDamaged
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.graph_index.triples import Triple
from hoptrail.rag.store.indexes import tantivy_files
from hoptrail.rag.store.indexes.tantivy import TantivyIndex
from hoptrail.rag.store.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with new_store(tmp_path) as store:
        store.commit([indexed(f"d{n}", [f"ship {n}", f"sea {n}"], meta={"n": n}) for n in range(9)])
        store.import_triples(
            [
                Triple(document_id=f"d{n}", subject="Fram", relation="is", object="it")
                for n in (1, 2)
            ]
        )
    return tmp_path


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("end", ["idx", "term", "fast", "fieldnorm", "store", "pos"])
def test_a_bit_of_a_segment_is_found_and_mended(root: Path, end: str) -> None:
    (path,) = (root / "default" / "tantivy" / "0").glob(f"*.{end}")
    flip(path, 0)
    (found,) = fsck(root).problems
    assert (found.kind, found.repairable) == ("lexical", True)
    assert path.name in found.what
    assert fsck(root, repair=True).clean


def test_a_segment_list_that_is_not_the_commits_is_built_anew_on_opening(root: Path) -> None:
    path = root / "default" / "tantivy" / "0" / "meta.json"
    path.write_text(path.read_text().replace('"max_doc": 18', '"max_doc": 19'))
    assert "list of segments" in fsck(root).problems[0].what
    with Store.open(root) as store:
        assert len(store.lexical("ship", 50).rows) == 9
    assert fsck(root).clean


def test_opening_a_large_index_reads_only_its_list(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of stored fields, which no search reads, since there are none.
    (path,) = (root / "default" / "tantivy" / "0").glob("*.store")
    flip(path, 0)
    monkeypatch.setattr(tantivy_files, "CHEAP", 100)
    with Store.open(root) as store:
        assert len(store.lexical("ship", 50).rows) == 9
    assert [one.kind for one in fsck(root).problems] == ["lexical"]


class PanicException(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds"), ValueError("corrupt")])
def test_an_index_that_fails_in_a_search_says_the_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TantivyIndex, "search", fail)
    with Store.open(root) as store, pytest.raises(StoreDamaged, match="fsck --repair"):
        store.lexical("ship", 5)


@pytest.mark.parametrize("metadata", ["{nonsense", "[1]", "null", ""])
def test_metadata_that_cannot_be_parsed_names_its_document(root: Path, metadata: str) -> None:
    sql(root, f"UPDATE documents SET metadata = '{metadata}' WHERE id = 'd3'")
    for report in (fsck(root), fsck(root, repair=True)):
        assert [(one.kind, one.document_id) for one in report.problems] == [("document", "d3")]
    with Store.open(root) as store:
        assert len(store.lexical("ship", 50).rows) == 9


@pytest.mark.parametrize("value", ["CAST(x'ff' AS TEXT)", "x'00'", "7"])
@pytest.mark.parametrize(("table", "column"), [("documents", "title"), ("texts", "body")])
def test_cells_of_another_type_name_their_document(
    root: Path, table: str, column: str, value: str
) -> None:
    sql(
        root,
        f"UPDATE {table} SET {column} = {value} WHERE rowid = (SELECT max(rowid) FROM {table})",
    )
    assert {one.document_id for one in fsck(root, repair=True).problems} == {"d8"}


def test_a_passage_that_is_lost_leaves_the_document_named_until_it_is_ingested(root: Path) -> None:
    sql(root, "DELETE FROM passages WHERE row = 3")
    for _ in range(2):
        assert {one.document_id for one in fsck(root, repair=True).problems} == {"d1"}
    with Store.open(root) as store:
        assert store.fingerprints()["d1"] != "d1"
        store.commit([indexed("d1", ["ship 1", "sea 1"])])
    assert fsck(root).clean


def test_triples_that_have_changed_are_named_with_their_passage(root: Path) -> None:
    sql(root, "UPDATE triples SET relation = 'was' WHERE row = 2", sealed=True)
    for report in (fsck(root), fsck(root, repair=True)):
        (found,) = report.problems
        assert (found.kind, found.document_id, found.repairable) == ("triples", "d1", False)
    with Store.open(root) as store:
        store.commit([indexed("d1", ["ship 1"])])
    assert fsck(root).clean


SETTINGS = (
    "UPDATE meta SET value = 'other' WHERE key = 'embedder'",
    "UPDATE meta SET value = 'x' WHERE key = 'passages'",
    "UPDATE meta SET value = 2 WHERE key = 'next_row'",
    "UPDATE meta SET value = 77 WHERE key = 'generation'",
    "DELETE FROM meta WHERE key = 'language'",
)


@pytest.mark.parametrize("harm", SETTINGS)
def test_settings_that_have_changed_are_restored_from_their_copy(root: Path, harm: str) -> None:
    with Store.open(root) as store:
        spec, generation = store.spec, store.generation
    sql(root, harm, sealed=True)
    with pytest.raises(StoreDamaged, match="fsck --repair"):
        Store.open(root)
    assert fsck(root, repair=True).clean
    with Store.open(root) as store:
        assert (store.spec, store.generation) == (spec, generation)
        store.commit([indexed("new", ["new ship"])])
        assert texts(store, store.lexical("new", 1)) == ["new ship"]
    assert fsck(root).clean


def test_settings_without_a_copy_cannot_be_restored(root: Path) -> None:
    sql(root, "UPDATE meta SET value = 'other' WHERE key = 'embedder'", sealed=True)
    (root / "default" / "manifest.json").unlink()
    with pytest.raises(StoreDamaged, match="Put back a copy"):
        fsck(root, repair=True)


def test_commits_that_are_lost_are_named(root: Path) -> None:
    catalogue = root / "default" / "catalogue.db"
    shutil.copy(catalogue, root / "earlier")
    with Store.open(root) as store:
        store.commit([indexed("late", ["late ship"])])
    shutil.copy(root / "earlier", catalogue)
    assert "the last 1 commits are lost" in fsck(root).problems[0].what
    assert not fsck(root, repair=True).clean
    assert fsck(root).clean


def test_a_store_without_checksums_gains_them(root: Path) -> None:
    (root / "default" / "manifest.json").unlink()
    sql(root, "UPDATE meta SET value = value WHERE key = 'format'")
    assert fsck(root).clean
    assert fsck(root, repair=True).clean
    assert json.loads((root / "default" / "manifest.json").read_text())["meta"]["generation"] == 2
    sql(root, "UPDATE triples SET relation = 'was' WHERE row = 2", sealed=True)
    assert [one.kind for one in fsck(root).problems] == ["triples"]


def copies(root: Path, work: Path) -> Iterator[tuple[Path, bytearray]]:
    """Fresh copies of a store and the content of each one's catalogue, without end."""
    while True:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(root, work)
        yield work, bytearray((work / "default" / "catalogue.db").read_bytes())


def test_an_id_that_has_changed_is_taken_from_the_other_place(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with new_store(root) as store:
        store.commit(
            [indexed("document-of-ids", ["ship"], fingerprint="f"), indexed("b", ["boat"])]
        )
    places = 0
    for work, data in copies(root, tmp_path / "work"):
        at = -1
        for _ in range(places + 1):
            at = data.find(b"document-of-ids", at + 1)
        if at < 0:
            break
        places += 1
        data[at + 3] ^= 1
        (work / "default" / "catalogue.db").write_bytes(data)
        assert not fsck(work).clean
        assert fsck(work, repair=True).clean
        with Store.open(work) as store:
            assert list(store.documents()) == ["b", "document-of-ids"]
    assert places >= 2


def test_a_page_that_is_gone_costs_what_lay_on_it_and_that_is_named(
    root: Path, tmp_path: Path
) -> None:
    known = {f"d{n}" for n in range(9)}
    base = tmp_path / "base"
    shutil.copytree(root / "default", base / "default")
    fresh = copies(base, tmp_path / "work")
    size = (base / "default" / "catalogue.db").stat().st_size
    for start in range(8192, size, 8192):
        work, data = next(fresh)
        data[start : start + 64] = b"\xa5" * 64
        (work / "default" / "catalogue.db").write_bytes(data)
        # The page of the settings ends a check.
        with contextlib.suppress(StoreDamaged):
            assert not fsck(work).clean
        report = fsck(work, repair=True)
        named = {one.document_id for one in report.problems}
        assert report.clean or named <= known
        with Store.open(work) as store:
            assert known - set(store.documents()) <= named
        assert {one.kind for one in fsck(work).problems} <= {"document", "passage", "triples"}
