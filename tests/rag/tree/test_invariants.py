"""What `check.faults` finds in trees that are wrong, and that it finds nothing in right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.store import DIMENSION, indexed, new_store, vector
from support.tree import bunched, made

from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.types import ROOT, Node, Tree
from hoptrail.rag.types import Vectors


@pytest.mark.parametrize("count", [0, 1, 4, 5, 64, 65, 300])
def test_a_tree_that_was_made_right_has_no_faults(count: int) -> None:
    leaves = bunched(count)
    assert tree_faults(made(leaves), leaves.rows(), leaves.vectors) == []


def with_node(place: int, /, **changes: object) -> Callable[[Tree], Tree]:
    def changed(tree: Tree) -> Tree:
        node: Node = replace(tree.nodes[place], **changes)  # type: ignore[arg-type]
        return replace(tree, nodes={**tree.nodes, place: node})

    return changed


def with_total(tree: Tree) -> Tree:
    return replace(tree, totals={**tree.totals, 3: tree.totals[3] + np.float32(1)})


def narrower(tree: Tree) -> Tree:
    return replace(tree, spec=replace(tree.spec, fanout=3))


def unrooted(tree: Tree) -> Tree:
    return replace(tree, nodes={n: one for n, one in tree.nodes.items() if n != ROOT})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (with_node(1, rows=(1, 2, 3)), "row 0 is in no leaf"),
        (with_node(1, rows=(0, 1, 2, 3, 4)), "row 4 is in 2 leaves"),
        (with_node(1, rows=(0, 1, 2, 99)), "row 99 should not be there"),
        (with_node(1, rows=()), "node 1 is empty"),
        (with_node(1, text=" "), "node 1 has no text"),
        (with_node(ROOT, text="all"), "the root has the text 'all'"),
        (with_node(1, count=9), "node 1 counts 9 leaves and has 4"),
        (with_node(1, parent=2), "but has the parent 2"),
        (with_node(1, number=77), "node 1 calls itself 77"),
        (with_node(1, children=(2,)), "has inner nodes and leaves"),
        (with_node(ROOT, children=(9, 10, 11, 12, 99)), "has the child 99, which is not there"),
        (with_node(ROOT, children=(18,)), "cannot be reached from the root"),
        (with_node(ROOT, parent=1), "the root has the parent 1"),
        (with_total, "the total of node 3 is not the sum"),
        (narrower, "children, more than 3"),
        (unrooted, "there is no root"),
    ],
)
def test_each_fault_is_told(change: Callable[[Tree], Tree], told: str) -> None:
    leaves = bunched(64)
    found = tree_faults(change(made(leaves)), leaves.rows(), leaves.vectors)
    assert any(told in one for one in found), found


def test_a_tree_may_have_eight_edges_and_no_more() -> None:
    assert tree_faults(made(bunched(2**8), fanout=2), range(2**8)) == []
    found = tree_faults(made(bunched(2**9), fanout=2), range(2**9))
    assert "stands too deep" in found[0]


class TestStoreLeaves:
    def test_passages_are_leaves_in_groups_of_their_documents(self, tmp_path: Path) -> None:
        with new_store(tmp_path) as store:
            store.commit([indexed("a", ["one", "two"], title="A"), indexed("none", [])])
            store.commit([indexed("b", ["three"], title="B")])
            leaves = StoreLeaves(store)
            rows = leaves.rows()
            assert leaves.texts(rows) == ("A\none", "A\ntwo", "B\nthree")
            assert leaves.documents(rows).tolist() == rows[[0, 0, 2]].tolist()
            assert np.array_equal(leaves.vectors(rows[::-1])[0], vector(("B", "three")))
            assert leaves.generation == store.generation == 2

    def test_what_was_replaced_has_no_text_and_new_leaves_show_it_no_more(
        self, tmp_path: Path
    ) -> None:
        with new_store(tmp_path) as store:
            store.commit([indexed("a", ["one"]), indexed("b", ["two"])])
            before = StoreLeaves(store)
            store.commit([indexed("a", ["other"])])
            rows = before.rows()
            assert before.texts(rows) == ("", "\ntwo")
            assert np.array_equal(before.vectors(rows)[0], vector(("", "one")))
            assert StoreLeaves(store).texts(StoreLeaves(store).rows()) == ("\ntwo", "\nother")

    @pytest.mark.parametrize("block", [1, 2, 3, 100])
    def test_documents_are_the_means_of_their_passages(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr("hoptrail.rag.tree.leaves._BLOCK", block)
        bodies = {"a": ["one", "two"], "b": ["three"], "c": ["four", "five", "six", "seven"]}
        with new_store(tmp_path) as store:
            store.commit([indexed(name, some) for name, some in bodies.items()])
            leaves = StoreLeaves(store, "documents")
            rows = leaves.rows()
            assert leaves.texts(rows) == ("\none", "\nthree", "\nfour")
            assert np.array_equal(leaves.documents(rows), rows)
            assert np.allclose(leaves.vectors(rows), [_mean(some) for some in bodies.values()])
            assert np.allclose(leaves.vectors(rows[[2, 0]])[0], _mean(bodies["c"]))

    @pytest.mark.parametrize("over", ["passages", "documents"])
    def test_an_empty_store_has_no_leaves(self, tmp_path: Path, over: str) -> None:
        with new_store(tmp_path) as store:
            leaves = StoreLeaves(store, over)  # type: ignore[arg-type]
            assert leaves.rows().tolist() == []
            assert leaves.documents([]).tolist() == []
            assert leaves.vectors([]).shape == (0, DIMENSION)
            assert leaves.texts([]) == ()


def _mean(bodies: list[str]) -> Vectors:
    mean: Vectors = np.mean([vector(("", body)) for body in bodies], axis=0)
    return mean / np.linalg.norm(mean)
