"""What a search sees of a tree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store import indexed, new_store, vector
from support.tree import bunched, made, plant, tree_file

from hoptrail.rag.errors import StoreBusy, TreeMismatch, TreeMissing
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import ROOT, LeafKind, Tree
from hoptrail.rag.tree.view import TreeView, leaves_of, load_tree, open_view, sync_stored_tree
from hoptrail.rag.types import IndexedDocument

LEAVES = bunched(50, passages=3)
TREE = made(LEAVES)
QUERY = LEAVES.points[7]


def below(tree: Tree, number: int) -> set[int]:
    return {row for node in tree.walk(number) for row in node.rows}


def cosine(total: np.ndarray, query: np.ndarray) -> float:
    return float(total @ query / np.linalg.norm(total))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 60)))
def test_only_what_is_visible_is_opened_and_counted(kept: set[int]) -> None:
    view = TreeView(TREE, LEAVES).under(np.array(sorted(kept), dtype=np.int64))
    opened = {one.node: one.items for one in view.open(QUERY, list(TREE.nodes))}
    for number, node in TREE.nodes.items():
        assert view.count(number) == len(below(TREE, number) & kept)
        inner = [child for child in node.children if below(TREE, child) & kept]
        assert [item.ref for item in opened[number]] == [
            *(Ref(leaf=False, number=child) for child in inner),
            *(Ref(leaf=True, number=row) for row in node.rows if row in kept),
        ]
        assert sum(item.count for item in opened[number]) == view.count(number)


def test_items_say_text_and_likeness() -> None:
    view = TreeView(TREE, LEAVES)
    (opened,) = view.open(QUERY, [ROOT])
    for item in opened.items:
        rows = sorted(below(TREE, item.ref.number))
        mean = LEAVES.points[rows].mean(axis=0)
        assert item.text == f"node {item.ref.number}"
        assert item.likeness == pytest.approx(cosine(mean, QUERY), abs=2e-6)
    last = next(node for node in TREE.walk() if 7 in node.rows)
    (opened,) = view.open(QUERY, [last.number])
    for item, row in zip(opened.items, last.rows, strict=True):
        assert item.text == LEAVES.bodies[row]
        assert item.likeness == pytest.approx(float(LEAVES.points[row] @ QUERY), abs=2e-6)
    assert {item.likeness for item in opened.items if item.ref.number == 7} == {1.0}


def test_leaves_that_died_meanwhile_are_not_there() -> None:
    later = LEAVES.only(range(10, 50))
    view = TreeView(TREE, later)
    assert view.count() == 40
    first, *_ = (node for node in TREE.walk() if node.rows)
    assert view.open(QUERY, [first.number])[0].items == ()
    assert view.seeds(QUERY, range(10)) == ()


def test_a_leaf_without_a_text_was_replaced_and_is_left_out() -> None:
    bodies = ("", *LEAVES.bodies[1:])
    view = TreeView(TREE, replace(LEAVES, bodies=bodies))
    first, *_ = (node for node in TREE.walk() if node.rows)
    (opened,) = view.open(QUERY, [first.number])
    assert [item.ref.number for item in opened.items] == [1, 2, 3]


def test_an_unknown_node_is_a_bug() -> None:
    with pytest.raises(KeyError):
        TreeView(TREE, LEAVES).open(QUERY, [999])


def test_seeds_by_hand() -> None:
    """Ranks 1 and 3 share a node: 1/61 + 1/63 against 1/62."""
    first, second, *_ = (node for node in TREE.walk() if node.rows)
    hits = [second.rows[0], 999, first.rows[1], second.rows[0], second.rows[2], 49]
    best, other = TreeView(TREE, LEAVES).seeds(QUERY, hits, k=3)
    assert (best.path, best.rows) == (TREE.path(second.number), (second.rows[0], second.rows[2]))
    assert (other.path, other.rows) == (TREE.path(first.number), (first.rows[1],))
    assert best.prior == 1
    assert other.prior == pytest.approx((1 / 62) / (1 / 61 + 1 / 63))
    assert best.likeness == pytest.approx(cosine(TREE.totals[second.number], QUERY), abs=2e-6)


def test_equal_seeds_stand_as_they_were_found_and_hidden_ones_nowhere() -> None:
    view = TreeView(TREE, LEAVES)
    nodes = [node for node in TREE.walk() if node.rows]
    hits = [node.rows[0] for node in nodes[::-1]]
    assert [seed.path[-1] for seed in view.seeds(QUERY, hits, k=5)] == [
        node.number for node in nodes[::-1][:5]
    ]
    hidden = view.under(np.array([hits[3]]))
    assert [(seed.rows, seed.prior) for seed in hidden.seeds(QUERY, hits)] == [((hits[3],), 1.0)]


def test_a_tree_without_leaves_opens_to_nothing() -> None:
    view = TreeView(made(LEAVES.only([])), LEAVES.only([]))
    assert view.open(QUERY, [ROOT])[0].items == ()
    assert (view.count(), view.seeds(QUERY, [1])) == (0, ())


@pytest.fixture
def documents() -> list[IndexedDocument]:
    return [
        indexed(f"d{n}", [f"ship {n}", f"sea {n}"], title=f"Log {n}", meta={"even": n % 2})
        for n in range(30)
    ]


@pytest.mark.parametrize("over", ["passages", "documents"])
def test_a_tree_older_than_its_store_is_caught_up(store: Store, over: LeafKind) -> None:
    planted = plant(store.root, over)
    store.commit([indexed("new", ["a new ship"]), indexed("d3", ["ship 3 again"])], ["d4"])
    tree = load_tree(store)
    leaves = StoreLeaves(store, over)
    assert tree_faults(tree, leaves.rows().tolist(), leaves.vectors) == []
    assert (tree.reflects, tree.generation) == (2, planted.generation + 1)
    # Only in memory: the file is as it was until somebody writes it.
    assert tree_file(store.root).load().reflects == 1
    growth = sync_stored_tree(store)
    assert growth is not None
    kept = tree_file(store.root).load()
    assert (kept.reflects, kept.generation, kept.nodes) == (2, 2, dict(growth.tree.nodes))
    assert load_tree(store).generation == 2
    again = sync_stored_tree(store)
    assert again is not None
    assert (again.before, again.tree.generation) == (2, 2)


CHANGES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 12), st.integers(0, 6), max_size=5),
        st.sets(st.integers(0, 12), max_size=4),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=6, deadline=None)
@given(CHANGES, st.sampled_from(["passages", "documents"]))
def test_whatever_is_committed_the_file_follows(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[tuple[dict[int, int], set[int]]],
    over: LeafKind,
) -> None:
    """Documents of so many passages come, are replaced and go; the tree grows after each commit."""
    with new_store(tmp_path_factory.mktemp("store")) as store:
        plant(store.root, over)
        for turn, (puts, deletes) in enumerate(changes):
            store.commit(
                [
                    indexed(f"d{n}", [f"{turn} {at}" for at in range(many)])
                    for n, many in puts.items()
                ],
                [f"d{n}" for n in deletes - puts.keys()],
            )
            sync_stored_tree(store)
            tree, leaves = tree_file(store.root).load(), StoreLeaves(store, over)
            assert tree_faults(tree, leaves.rows().tolist(), leaves.vectors) == []
            assert open_view(store, tree).count() == len(leaves.rows())


def test_a_store_without_a_tree_has_nothing_to_grow(store: Store) -> None:
    assert sync_stored_tree(store) is None
    with pytest.raises(TreeMissing, match="hoptrail tree build --store"):
        load_tree(store)


def test_growth_is_done_again_on_a_tree_that_was_built_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(store.root)
    store.commit([indexed("new", ["a new ship"])])
    grow, rivals = TreeFile.grow, [lambda: plant(store.root)]

    def beaten(self: TreeFile, growth: object) -> bool:
        if rivals:
            rivals.pop()()
        return grow(self, growth)  # type: ignore[arg-type]

    monkeypatch.setattr(TreeFile, "grow", beaten)
    sync_stored_tree(store)
    # The rival's tree had the new passage, so there was nothing left to grow.
    kept = tree_file(store.root).load()
    assert (kept.generation, kept.nodes[ROOT].count) == (2, 61)


def test_a_tree_that_others_keep_changing_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(store.root)
    store.commit([indexed("new", ["a new ship"])])
    monkeypatch.setattr(TreeFile, "grow", lambda self, growth: False)
    with pytest.raises(StoreBusy, match=r"keeps changing the tree .*: run the command again"):
        sync_stored_tree(store)
    assert tree_file(store.root).load().reflects == 1


def test_a_tree_of_another_embedder_is_refused(store: Store) -> None:
    plant(store.root, embedder="other")
    for call in (load_tree, sync_stored_tree):
        with pytest.raises(
            TreeMismatch, match=r"'other' \(8 dimensions\).*'test' \(8\).*tree build"
        ):
            call(store)


def test_a_tree_of_a_later_store_is_refused(store: Store) -> None:
    tree = plant(store.root)
    tree_file(store.root).save(replace(tree, reflects=9))
    with pytest.raises(TreeMismatch, match="an older copy was put back"):
        load_tree(store)


@pytest.mark.parametrize("over", ["passages", "documents"])
def test_filters_and_hits_of_a_store(store: Store, over: LeafKind) -> None:
    plant(store.root, over)
    tree = load_tree(store)
    odd = open_view(store, tree, {"even": 1})
    assert (open_view(store, tree).count(), odd.count()) == (
        (60, 30) if over == "passages" else (30, 15)
    )
    snapshot = store.snapshot()
    query = vector(("Log 7", "sea 7"))
    hits = [one.id for one in (*store.passages_of("d7")[1:], *store.passages_of("d8"))]
    rows = leaves_of(snapshot, [*hits, "nobody"], over)
    assert rows[-1] == -1
    (seed,) = odd.seeds(query, rows)
    (opened,) = odd.open(query, [seed.path[-1]])
    (found,) = (item for item in opened.items if item.ref.number == seed.rows[0])
    # A document shows how it begins.
    assert found.text == ("Log 7\nsea 7" if over == "passages" else "Log 7\nship 7")
    assert found.likeness == pytest.approx(1.0, abs=1e-5) or over == "documents"


def test_passages_of_another_generation_have_no_leaf(store: Store) -> None:
    old = store.passages_of("d1")[0].id
    before = store.snapshot()
    first = leaves_of(before, [old], "passages")
    store.commit([indexed("d1", ["ship 1", "sea 1"], title="Log 1", fingerprint="2")])
    # The same place in the new text has the same id and another row.
    assert leaves_of(before, [old], "passages") == [-1]
    (after,) = leaves_of(store.snapshot(), [old], "passages")
    assert after > first[0]
