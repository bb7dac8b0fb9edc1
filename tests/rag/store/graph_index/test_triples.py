"""Marks of what a model has read: who has them, who loses them, and that they agree with fsck."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.store import indexed, new_store, sql

from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.errors import BackendRefused, SettingsError
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.graph_index.triples import Extraction
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import IndexedDocument

FACT = ("Nansen", "built", "Gjøa")


@pytest.fixture
def documents() -> list[IndexedDocument]:
    return [
        indexed("fram", ["The ship that Nansen built.", "It lies in Oslo."], title="Fram"),
        indexed("oslo", ["A town of Norway."], title="Oslo"),
        indexed("empty", []),
    ]


def unread(store: Store, model: str = "m") -> list[int]:
    return store.unread(model).rows.tolist()


def test_what_is_read_is_not_read_again_by_that_model(store: Store, tmp_path: Path) -> None:
    assert unread(store) == [0, 1, 2]
    kept = store.save_extractions("m", [Extraction(row=0, triples=[FACT, FACT]), Extraction(row=2)])
    assert (kept.generation, kept.added, kept.gone) == (2, 1, 0)
    assert (unread(store), unread(store, "other")) == ([1], [0, 1, 2])
    with store.snapshot().graph() as links:
        (found,) = links.triples([0, 1, 2])
        assert (found.row, found.subject, found.relation, found.object) == (0, *FACT)
        assert links.mentioning([entity_key("Gjøa")], 5).rows.tolist() == [0]
    with Store.open(tmp_path) as again:
        assert unread(again) == [1]
    assert fsck(tmp_path).clean


def test_marks_alone_make_no_generation(store: Store) -> None:
    kept = store.save_extractions("m", [Extraction(row=0), Extraction(row=1, failure="parse")])
    assert (kept.generation, kept.added, store.generation) == (1, 0, 1)
    again = store.save_extractions("m", [Extraction(row=0)])
    assert (again.added, store.generation) == (0, 1)


def test_what_failed_comes_last_until_it_is_read(store: Store) -> None:
    store.save_extractions("m", [Extraction(row=0, failure="length")])
    assert (unread(store), store.unread("m").failed) == ([1, 2, 0], 1)
    store.save_extractions("m", [Extraction(row=0, triples=[FACT])])
    assert (unread(store), store.unread("m").failed) == ([1, 2], 0)


def test_a_document_that_is_replaced_loses_marks_and_triples(store: Store, tmp_path: Path) -> None:
    store.save_extractions("m", [Extraction(row=row, triples=[FACT]) for row in (0, 1, 2)])
    # The same length, and so the same passage ids.
    store.commit([indexed("fram", ["The ship that Nansen wrote.", "It lies in Oslo."])], ["oslo"])
    assert len(unread(store)) == 2
    assert store.stats().triples == 0
    late = store.save_extractions("m", [Extraction(row=0, triples=[FACT]), Extraction(row=99)])
    assert (late.added, late.gone, store.stats().triples) == (0, 2, 0)
    assert len(unread(store)) == 2
    assert fsck(tmp_path).clean


def test_marks_survive_compaction_and_a_rebuilt_graph(store: Store, tmp_path: Path) -> None:
    store.save_extractions("m", [Extraction(row=1, triples=[FACT])])
    store.compact()
    store.close()
    sql(tmp_path, "DELETE FROM mentions", "INSERT INTO read_by VALUES (77, 'm', '')")
    assert {one.kind for one in fsck(tmp_path).problems} == {"graph"}
    assert fsck(tmp_path, repair=True).clean
    with Store.open(tmp_path) as again:
        assert unread(again) == [0, 2]
        assert again.stats().triples == 1


def test_a_commit_that_fails_keeps_neither_triples_nor_marks(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise ValueError("late")

    with monkeypatch.context() as patch:
        patch.setattr("hoptrail.rag.store.catalogue.writes.record_generation", full)
        with pytest.raises(ValueError, match="late"):
            store.save_extractions("m", [Extraction(row=0, triples=[FACT])])
    assert (unread(store), store.stats().triples) == ([0, 1, 2], 0)
    assert fsck(tmp_path).clean


@pytest.mark.parametrize(
    ("model", "triple", "why"),
    [
        (" ", FACT, "needs the name of its model"),
        ("m", ("a", " ", "b"), "is no triple"),
        ("m", ("a", "b"), "is no triple"),
        ("m", ("a", "\ud800", "b"), "is no triple"),
        ("m", ("a", 7, "b"), "is no triple"),
    ],
)
def test_what_says_nothing_is_refused(store: Store, model: str, triple: tuple, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        store.save_extractions(model, [Extraction(row=0), Extraction(row=1, triples=[triple])])
    assert unread(store) == [0, 1, 2]


def test_a_store_without_a_graph_is_not_read(tmp_path: Path) -> None:
    with new_store(tmp_path / "none", graph="none") as bare:
        with pytest.raises(BackendRefused, match="graph 'links'"):
            bare.unread("m")
        with pytest.raises(BackendRefused, match="graph 'links'"):
            bare.save_extractions("m", [])
