"""The file of a tree: whole generations, through killed writers and broken disks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import TESTS
from support.store import sql
from support.tree import bunched, made

from hoptrail.rag.errors import (
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    TreeMismatch,
    TreeMissing,
)
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import NO_PARENT, Tree, TreeSpec
from hoptrail.rag.tree.update import sync_tree

LEAVES = bunched(60, passages=2)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(root=tmp_path, tenant="default")
    layout.folder.mkdir()
    return layout


def same(one: Tree, other: Tree) -> bool:
    return (
        dict(one.nodes) == dict(other.nodes)
        and one.totals.keys() == other.totals.keys()
        and all(np.array_equal(one.totals[number], other.totals[number]) for number in one.totals)
        and (one.spec, one.reflects, one.generation)
        == (other.spec, other.reflects, other.generation)
        and one.fresh == other.fresh
    )


def test_a_tree_comes_back_as_it_was(layout: Layout) -> None:
    tree = made(LEAVES)
    spec = TreeSpec(
        method="top-down",
        fanout=9,
        over="documents",
        seed=3,
        model="somebody",
        embedder="test",
        dimension=tree.spec.dimension,
    )
    tree = replace(tree, spec=spec, reflects=12, given=400)
    file = TreeFile(layout)
    kept = file.save(tree)
    assert same(kept, tree)
    assert same(TreeFile(layout).load(), tree)
    assert (file.exists(), file.generation()) == (True, 1)


def test_generations_grow_whatever_is_saved(layout: Layout) -> None:
    file = TreeFile(layout)
    assert [file.save(made(LEAVES)).generation for _ in range(3)] == [1, 2, 3]
    assert file.save(replace(made(LEAVES), generation=9)).generation == 9
    assert file.save(made(LEAVES.only([]))).generation == 10
    assert file.load().nodes.keys() == {0}


def test_no_tree_is_missing(layout: Layout) -> None:
    file = TreeFile(layout)
    for _ in range(2):
        assert (file.exists(), file.generation(), file.drafts(["a"])) == (False, 0, {})
        with pytest.raises(TreeMissing, match=r"no tree.*hoptrail tree build --store"):
            file.load()
        # An empty file is what is left of a process killed while it made one.
        layout.tree.touch()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sets(st.integers(0, 59)), min_size=1, max_size=5))
def test_what_is_grown_step_by_step_is_what_was_in_memory(
    layout: Layout, states: list[set[int]]
) -> None:
    file = TreeFile(layout)
    tree = file.save(made(LEAVES))
    for state in states:
        leaves = replace(LEAVES.only(state), generation=tree.reflects + 1)
        growth = sync_tree(tree, leaves, lambda _, numbers, __: dict.fromkeys(numbers, "told"))
        assert file.grow(growth)
        tree = growth.tree
        assert same(replace(file.load(), reflects=0), replace(tree, reflects=0))


def test_growth_of_another_tree_is_not_written(layout: Layout) -> None:
    file = TreeFile(layout)
    first = file.save(made(LEAVES.only(range(50))))
    growth = sync_tree(first, LEAVES)
    second = file.save(made(LEAVES))
    assert not file.grow(growth)
    assert same(file.load(), second)
    file.delete()
    assert not file.grow(growth)
    assert not file.exists()


def test_drafts_outlive_all_but_the_tree_they_were_for(layout: Layout) -> None:
    file = TreeFile(layout)
    file.keep_drafts({"a": "one", "b": "two"})
    file.keep_drafts({"b": "zwei", "ü\0": ""})
    assert not file.exists()
    plain = file.save(made(LEAVES.only(range(50))))
    assert file.grow(sync_tree(plain, LEAVES))
    again = TreeFile(layout)
    assert again.drafts(["a", "b", "ü\0", "c"]) == {"a": "one", "b": "zwei", "ü\0": ""}
    file.save(replace(plain, spec=replace(plain.spec, model="somebody")))
    assert file.drafts(["a"]) == {}


def test_a_tree_that_is_dropped_leaves_nothing(layout: Layout) -> None:
    file = TreeFile(layout)
    file.delete()
    file.save(made(LEAVES))
    file.keep_drafts({"a": "one"})
    file.delete()
    assert not file.exists()
    assert file.drafts(["a"]) == {}
    assert file.save(made(LEAVES)).generation == 1


def test_one_builds_at_a_time_and_others_are_told_who(layout: Layout) -> None:
    file = TreeFile(layout)
    with TreeFile(layout).building():
        with pytest.raises(StoreBusy, match="in use by process"), file.building():
            pytest.fail("two build at once")
        with pytest.raises(StoreBusy):
            file.delete()
        file.save(made(LEAVES))
    with file.building(), file.building():
        assert file.exists()


def test_a_reader_sees_one_generation_whole(layout: Layout) -> None:
    """A load that a save interrupts brings the tree of before, and the next one the new."""
    file = TreeFile(layout)
    first = file.save(made(LEAVES))
    with file._reading() as connection:
        assert connection is not None
        connection.execute("SELECT count(*) FROM nodes").fetchone()
        second = file.save(made(LEAVES.only(range(9))))
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (len(first.nodes),)
    assert same(file.load(), second)


def test_threads_that_read_see_whole_generations_in_order(layout: Layout) -> None:
    """Saves of a large and a small tree take turns; a load that mixed them would be no tree."""
    file = TreeFile(layout)
    trees = [made(LEAVES), made(LEAVES.only(range(7)))]
    counts = {1: 60, 0: 7}
    file.save(trees[0])
    done = threading.Event()

    def read() -> list[tuple[int, int]]:
        seen = []
        while not done.is_set() or not seen:
            tree = file.load()
            seen.append((tree.generation, tree.nodes[0].count))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for turn in range(2, 12):
                assert file.save(trees[turn % 2 == 0]).generation == turn
        finally:
            done.set()
        found = [reader.result() for reader in readers]
    for seen in found:
        assert seen == sorted(seen)
        assert all(count == counts[generation % 2] for generation, count in seen)


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.tree import bunched, made
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.tree import storage as keep
records = keep.records_of
def dying(tree, numbers):
    for at, one in enumerate(records(tree, numbers)):
        if at == 5:
            os.kill(os.getpid(), 9)
        yield one
keep.records_of = dying
keep.TreeFile(Layout(root=Path({root!r}), tenant="default")).save(made(bunched(200)))
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_killed_writer_leaves_what_was_there(layout: Layout, before: bool) -> None:
    file = TreeFile(layout)
    tree = file.save(made(LEAVES)) if before else None
    script = KILLED.format(tests=str(TESTS), root=str(layout.root))
    assert subprocess.run([sys.executable, "-P", "-c", script], check=False).returncode == -9
    assert file.exists() == before
    if tree is not None:
        assert same(file.load(), tree)
    assert file.save(made(LEAVES)).generation == 1 + before


BROKEN = {
    "DELETE FROM nodes WHERE number = 0": "has no parent",
    "DELETE FROM nodes WHERE number = 5": "a node is missing",
    "INSERT INTO nodes SELECT 99, text, 0, 0, x'', x'', total FROM nodes LIMIT 1": "no parent",
    "UPDATE nodes SET total = x'00' WHERE number = 5": "multiple of element size",
    "UPDATE nodes SET total = x'00000000' WHERE number = 5": "cannot reshape",
    "UPDATE nodes SET rows = x'00' WHERE number = 1": "multiple of element size",
    "UPDATE nodes SET children = 7 WHERE number = 1": "TypeError",
    "UPDATE nodes SET count = 9 WHERE number = 1": "node counts are wrong",
    "UPDATE nodes SET children = (SELECT children FROM nodes WHERE number = 0) WHERE number = 17": (
        "has another parent"
    ),
    "UPDATE meta SET value = 'sideways' WHERE key = 'method'": "'sideways'",
    "UPDATE meta SET value = 'many' WHERE key = 'reflects'": "'many'",
    "DELETE FROM meta WHERE key = 'fanout'": "'fanout'",
    "DELETE FROM meta WHERE key = 'reflects'": "'reflects'",
    "DROP TABLE nodes": "no such table",
}


@pytest.mark.parametrize("harm", BROKEN)
def test_what_is_no_tree_is_said_with_the_remedy(layout: Layout, harm: str) -> None:
    file = TreeFile(layout)
    file.save(made(LEAVES))
    sql(layout.root, harm, file="tree.db")
    with pytest.raises(StoreDamaged, match=rf"(?s){BROKEN[harm]}.*hoptrail tree build"):
        file.load()
    file.delete()
    assert file.save(made(LEAVES)).generation == 1


def test_a_file_of_other_bytes_is_said_with_the_remedy(layout: Layout) -> None:
    layout.tree.write_bytes(b"this is no database at all" * 99)
    file = TreeFile(layout)
    for call in (file.load, file.exists, lambda: file.save(made(LEAVES))):
        with pytest.raises(StoreDamaged, match=r"not a database.*hoptrail tree drop"):
            call()
    file.delete()
    file.save(made(LEAVES))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_byte_that_flips_is_an_error_that_says_what_to_do_or_harmless(
    layout: Layout, data: st.DataObject
) -> None:
    file = TreeFile(layout)
    file.delete()
    tree = file.save(made(LEAVES))
    content = bytearray(layout.tree.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    layout.tree.write_bytes(content)
    assert said(file) in ("hoptrail", tree.nodes.keys())


def said(file: TreeFile) -> object:
    """The numbers of the tree, or what the error tells to run."""
    try:
        return file.load().nodes.keys()
    except StoreError as error:
        return "hoptrail" if "hoptrail" in str(error) else str(error)


def test_a_tree_of_another_format_is_refused(layout: Layout) -> None:
    file = TreeFile(layout)
    file.save(made(LEAVES))
    sql(layout.root, "UPDATE meta SET value = 2 WHERE key = 'format'", file="tree.db")
    for call in (file.load, file.exists, lambda: file.save(made(LEAVES))):
        with pytest.raises(TreeMismatch, match=r"format 2; this version reads 1.*tree build"):
            call()


def test_a_full_disk_leaves_the_tree_before(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TreeFile(layout)
    tree = file.save(made(LEAVES))

    def small(self: TreeFile) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(TreeFile, "_connect", small)
        with pytest.raises(StoreFull, match="full"):
            file.save(made(bunched(900)))
    assert same(file.load(), tree)


def test_a_root_has_no_parent_when_it_comes_back(layout: Layout) -> None:
    file = TreeFile(layout)
    file.save(made(LEAVES))
    assert file.load().nodes[0].parent == NO_PARENT
