"""A tree that is wrong is found by name, and removed by a repair; nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.store import indexed, new_store, sql
from support.tree import plant, tree_file

from hoptrail.rag.errors import StoreBusy
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.types import LeafKind
from hoptrail.rag.tree.view import sync_stored_tree


def store_with_tree(root: Path, over: LeafKind = "passages") -> None:
    with new_store(root) as store:
        store.commit([indexed(f"d{n}", [f"ship {n}", f"sea {n}"]) for n in range(20)])
    plant(root, over)


@pytest.mark.parametrize("over", ["passages", "documents"])
def test_a_sound_tree_is_clean_at_its_generation_and_later(tmp_path: Path, over: LeafKind) -> None:
    store_with_tree(tmp_path, over)
    assert fsck(tmp_path).clean
    with Store.open(tmp_path) as store:
        store.commit([indexed("d3", ["ship again"]), indexed("new", ["new"])], ["d4"])
        assert fsck(tmp_path).clean
        sync_stored_tree(store)
        assert fsck(tmp_path).clean


HARMS = {
    "UPDATE nodes SET text = ' ' WHERE number = 3": "node 3 has no text",
    "UPDATE nodes SET total = (SELECT total FROM nodes WHERE number = 4) WHERE number = 3": (
        "the total of node 3 is not the sum"
    ),
    "UPDATE meta SET value = 3 WHERE key = 'fanout'": "more than 3",
    "UPDATE meta SET value = 9 WHERE key = 'reflects'": "of a later generation, 9",
    "UPDATE meta SET value = 'other' WHERE key = 'embedder'": "another embedder, 'other'",
    "UPDATE meta SET value = 2 WHERE key = 'format'": "format 2",
    "DELETE FROM nodes WHERE number = 3": "cannot be read",
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_tree_that_is_wrong_is_named_and_mended(tmp_path: Path, harm: str) -> None:
    store_with_tree(tmp_path)
    sql(tmp_path, harm, file="tree.db")
    first = fsck(tmp_path)
    assert {one.kind for one in first.problems} == {"tree"}
    assert any(HARMS[harm] in one.what for one in first.problems)
    assert all("hoptrail tree build" in one.what for one in first.problems)
    report = fsck(tmp_path, repair=True)
    assert report.clean
    assert set(report.repaired) == set(first.problems)
    # Whose method, width and leaves can be told, and which no model wrote, is built again.
    lost = ("'embedder'" in harm, "'format'" in harm)
    assert tree_file(tmp_path).exists() != any(lost)


def test_a_tree_that_a_model_wrote_is_removed(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    with Store.open(tmp_path):
        plant(tmp_path, model="m")
    sql(tmp_path, "UPDATE nodes SET text = 'node 4' WHERE number = 3", file="tree.db", sealed=True)
    (found,) = fsck(tmp_path).problems
    assert "changed under the checksum: node 3" in found.what
    assert fsck(tmp_path, repair=True).clean
    assert not tree_file(tmp_path).exists()


def test_a_tree_without_checksums_gains_them_with_its_first_change(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    sql(tmp_path, "UPDATE nodes SET text = 'other' WHERE number = 3", file="tree.db")
    assert fsck(tmp_path).clean
    with Store.open(tmp_path) as store:
        store.commit([indexed("new", ["new"])])
        sync_stored_tree(store)
    assert fsck(tmp_path).clean
    last = "number = (SELECT max(number) FROM nodes)"
    sql(tmp_path, f"UPDATE nodes SET text = 'third' WHERE {last}", file="tree.db", sealed=True)
    assert "under the checksum: node" in fsck(tmp_path).problems[0].what


def test_a_leaf_too_few_or_too_many_is_named(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    with Store.open(tmp_path) as store:
        store.commit([indexed("new", ["new"])], ["d4"])
    tree_file(tmp_path).save(replace(tree_file(tmp_path).load(), reflects=2))
    told = [one.what for one in fsck(tmp_path).problems]
    assert any("row 40 is in no leaf" in one for one in told)
    assert any("row 8 should not be there" in one for one in told)


def test_a_file_that_is_none_is_named_and_removed(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    (tmp_path / "default" / "tree.db").write_bytes(b"nothing that SQLite could read" * 99)
    assert [one.kind for one in fsck(tmp_path).problems] == ["tree"]
    assert fsck(tmp_path, repair=True).clean


def test_a_vector_that_is_missing_is_not_the_trees_fault(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    sql(tmp_path, "DELETE FROM embeddings WHERE row = 3")
    assert "tree" not in {one.kind for one in fsck(tmp_path).problems}


def test_a_tree_that_is_being_built_is_not_removed(tmp_path: Path) -> None:
    store_with_tree(tmp_path)
    wrong = tree_file(tmp_path).save(replace(tree_file(tmp_path).load(), reflects=9))
    with tree_file(tmp_path).building(), pytest.raises(StoreBusy):
        fsck(tmp_path, repair=True)
    assert tree_file(tmp_path).generation() == wrong.generation
