"""Planted damage is found by name, and mended where it follows from something else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tantivy
from numpy.typing import NDArray
from support.store import DIMENSION, indexed, new_store, sql, texts, vector

from hoptrail.rag.errors import StoreBusy, StoreMissing
from hoptrail.rag.fsck import FsckReport, fsck
from hoptrail.rag.store.indexes.tantivy_queries import SCHEMA
from hoptrail.rag.store.store import Store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with new_store(tmp_path) as store:
        store.commit(
            [indexed(f"d{n}", [f"ship {n}", f"sea {n}"], meta={"n": n}) for n in range(20)]
        )
        store.commit([indexed("d5", ["new ship"])], ["d6"])
    return tmp_path


def kinds(report: FsckReport) -> set[str]:
    return {one.kind for one in report.problems}


def test_a_sound_store_is_clean(root: Path) -> None:
    report = fsck(root)
    assert report.clean
    assert (report.documents, report.passages, report.generation) == (19, 37, 2)
    assert (report.problems, report.repaired, report.tenant) == ((), (), "default")


def test_an_empty_store_is_clean_and_none_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match="hoptrail ingest"):
        fsck(tmp_path)
    for number, settings in enumerate([{}, {"lexical": "rank-bm25", "dense": "chroma"}]):
        new_store(tmp_path / str(number), **settings).close()
        assert fsck(tmp_path / str(number)).clean


def mended(root: Path, kind: str) -> FsckReport:
    """The damage is found, a plain check changes nothing, and the repair mends it."""
    first = fsck(root)
    assert kind in kinds(first)
    assert all(one.repairable for one in first.problems)
    assert fsck(root) == first
    report = fsck(root, repair=True)
    assert report.clean
    assert set(report.repaired) == set(first.problems)
    assert fsck(root).clean
    return first


def test_a_passage_deleted_from_the_lexical_index(root: Path) -> None:
    index = tantivy.Index(SCHEMA, path=str(root / "default" / "tantivy" / "0"))
    with Store.open(root) as store:
        row = int(store.lexical("new", 1).rows[0]) - 7
    writer = index.writer(15_000_000, 1)
    writer.delete_documents_by_query(tantivy.Query.term_query(SCHEMA, "row", row, "basic"))
    writer.commit()
    del writer
    sql(root, "DELETE FROM meta WHERE key = 'lexical_seal'")
    found = mended(root, "lexical")
    assert any(
        "1 passages are missing from the lexical index" in one.what for one in found.problems
    )


def test_a_passage_that_stands_twice_in_the_lexical_index(root: Path) -> None:
    with Store.open(root) as store:
        row = int(store.lexical("new", 1).rows[0])
    index = tantivy.Index(SCHEMA, path=str(root / "default" / "tantivy" / "0"))
    index.register_tokenizer(
        "hoptrail", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).build()
    )
    writer = index.writer(15_000_000, 1)
    document = tantivy.Document()
    document.add_unsigned("row", row)
    document.add_unsigned("crc", 7)
    document.add_unsigned("tie", 7)
    writer.add_document(document)
    writer.commit()
    del writer
    sql(root, "DELETE FROM meta WHERE key = 'lexical_seal'")
    found = mended(root, "lexical")
    assert any("stand twice" in one.what for one in found.problems)


def test_a_flipped_byte_in_the_vector_file(root: Path) -> None:
    path = root / "default" / "vectors-0.f32"
    data = bytearray(path.read_bytes())
    data[4 * DIMENSION * 3 + 2] ^= 1
    path.write_bytes(data)
    found = mended(root, "dense")
    assert "1 passages stand with other content in the dense index" in found.problems[0].what


def test_a_wrong_text_of_a_passage(root: Path) -> None:
    sql(root, "UPDATE passages SET text = 'shop 3' WHERE text = 'ship 3'")
    found = mended(root, "passage")
    assert found.problems[0].document_id == "d3"
    with Store.open(root) as store:
        assert texts(store, store.lexical("3", 9)) != []
        assert [one.text for one in store.passages_of("d3")] == ["ship 3", "sea 3"]


@pytest.mark.parametrize("change", ["start = start + 1", "stop = 1", "id = 'other'", "doc = 7"])
def test_a_passage_whose_id_and_offsets_disagree(root: Path, change: str) -> None:
    with Store.open(root) as store:
        before = store.passages_of("d3")
    sql(root, f"UPDATE passages SET {change} WHERE text = 'sea 3'")
    mended(root, "passage")
    with Store.open(root) as store:
        assert store.passages_of("d3") == before


def test_filters_that_differ_from_the_metadata(root: Path) -> None:
    sql(root, "DELETE FROM facets WHERE doc = (SELECT doc FROM documents WHERE id = 'd4')")
    mended(root, "facet")
    with Store.open(root) as store:
        assert sorted(texts(store, store.dense(vector(0), 9, {"n": 4}))) == ["sea 4", "ship 4"]


def test_rows_of_no_document(root: Path) -> None:
    sql(root, "INSERT INTO passages VALUES (999, 'x', 999, 0, 1, 'x')")
    sql(root, "INSERT INTO embeddings VALUES (999, zeroblob(32), 0)")
    mended(root, "orphan")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE texts SET body = 'other' || body WHERE part % 2 = 0", "document"),
        ("UPDATE documents SET title = 'other' WHERE id = 'd2'", "document"),
        ("DELETE FROM passages WHERE row = 3", "passage"),
        ("UPDATE passages SET start = start + 1, text = 'x' WHERE row = 3", "passage"),
    ],
)
def test_what_cannot_be_repaired_is_named_with_the_remedy(
    root: Path, statement: str, kind: str
) -> None:
    sql(root, statement)
    for report in (fsck(root), fsck(root, repair=True)):
        beyond = [one for one in report.problems if one.kind == kind]
        assert beyond
        assert not beyond[0].repairable
        assert beyond[0].document_id is not None
        assert "delete the document and ingest it again" in beyond[0].what


HARMED_VECTORS = (
    "UPDATE embeddings SET crc = crc + 1 WHERE row = 3",
    "UPDATE embeddings SET vector = zeroblob(32) WHERE row = 3",
    "UPDATE embeddings SET vector = 'text' WHERE row = 3",
    "DELETE FROM embeddings WHERE row = 3",
)


@pytest.mark.parametrize("statement", HARMED_VECTORS)
def test_a_vector_is_taken_from_the_dense_index(root: Path, statement: str) -> None:
    sql(root, statement)
    mended(root, "vector")
    with Store.open(root) as store:
        assert texts(store, store.dense(vector(("", "sea 1")), 1)) == ["sea 1"]


class _Embedder:
    id, dimension, window = "test", DIMENSION, 1000

    def embed(self, texts: Sequence[str], kind: str = "passage") -> NDArray[np.float32]:
        return np.array([vector(tuple(one.split("\n"))) for one in texts])


def test_a_vector_that_no_index_has_is_embedded_again_or_named(root: Path) -> None:
    (root / "default" / "vectors-0.f32").unlink()
    sql(root, "DELETE FROM embeddings WHERE row = 3")
    report = fsck(root, repair=True)
    assert {(one.kind, one.document_id, one.repairable) for one in report.problems} >= {
        ("vector", "d1", False)
    }
    assert "delete the document and ingest it again" in report.problems[0].what
    assert fsck(root, repair=True, embedder=_Embedder).clean
    with Store.open(root) as store:
        assert texts(store, store.dense(vector(("", "sea 1")), 1)) == ["sea 1"]


def test_ingesting_a_damaged_document_again_mends_the_store(root: Path) -> None:
    sql(root, "DELETE FROM embeddings WHERE row = 3")
    (damaged,) = {one.document_id for one in fsck(root).problems if one.document_id}
    assert damaged == "d1"
    with Store.open(root) as store:
        store.commit([indexed("d1", ["ship again"])])
    assert fsck(root, repair=True).clean


def test_a_writer_at_work_is_waited_for_and_named(root: Path) -> None:
    with (
        Store.open(root) as store,
        store._parts.lock.held(1),
        pytest.raises(StoreBusy, match="in use by process"),
    ):
        fsck(root, wait=0.05)


def test_damage_in_chroma_is_found_and_mended(tmp_path: Path) -> None:
    with new_store(tmp_path, dense="chroma") as store:
        store.commit([indexed(f"d{n}", [f"ship {n}"]) for n in range(9)])
        keeper = store._parts.dense
        collection = keeper._collection(0)  # type: ignore[attr-defined]
        collection.upsert(ids=["3"], embeddings=vector("wrong")[np.newaxis])
    assert "dense" in kinds(fsck(tmp_path))
    assert fsck(tmp_path, repair=True).clean
    with Store.open(tmp_path) as store:
        assert texts(store, store.dense(vector(("", "ship 3")), 1)) == ["ship 3"]


@pytest.mark.parametrize("repair", [False, True])
def test_what_chroma_has_not_learnt_is_replayed(tmp_path: Path, repair: bool) -> None:
    with new_store(tmp_path, dense="chroma") as store:
        store.commit([indexed("a", ["old ship"]), indexed("b", ["boat"])])
        # As if the process had died between the catalogue's commit and Chroma's.
        store._parts.dense.settle = lambda writer: None  # type: ignore[method-assign]
        store.commit([indexed("a", ["new ship", "newer ship"])], ["b"])
    assert "outbox" in kinds(fsck(tmp_path))
    if repair:
        assert fsck(tmp_path, repair=True).clean
    with Store.open(tmp_path) as store:
        assert sorted(texts(store, store.dense(vector(0), 9))) == ["new ship", "newer ship"]
    assert fsck(tmp_path).clean
