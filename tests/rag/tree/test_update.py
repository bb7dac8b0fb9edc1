"""Trees that leaves come to and go from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import DIMENSION, SomeLeaves, bunched, made

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.types import MOST_DEPTH, ROOT, Leaves, Method, Node, Tree, TreeChange
from hoptrail.rag.tree.update import stale_nodes, sync_tree, with_texts

LEAVES = bunched(120, passages=3)


def checked_change(growth: TreeChange, leaves: SomeLeaves, before: Tree) -> Tree:
    """The tree has all invariants, and what is said to differ from before is what differs."""
    tree = growth.tree
    assert tree_faults(tree, leaves.rows().tolist(), leaves.vectors) == []
    assert tree.reflects == leaves.generation
    assert growth.before == before.generation
    assert growth.gone == before.nodes.keys() - tree.nodes.keys()
    assert growth.touched <= tree.nodes.keys()
    for number in tree.nodes.keys() - growth.touched:
        assert tree.nodes[number] == before.nodes[number]
        assert np.array_equal(tree.totals[number], before.totals[number])
    new = tree.nodes.keys() - before.nodes.keys()
    assert all(before.fresh <= number < tree.fresh for number in new)
    return tree


def told(tree: Tree, numbers: Sequence[int], leaves: Leaves) -> dict[int, str]:
    """Texts that cost nothing."""
    return {number: f"told {number}" for number in numbers}


def grown(tree: Tree, leaves: SomeLeaves) -> Tree:
    return checked_change(sync_tree(tree, leaves, told), leaves, tree)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 9),
    st.lists(st.sets(st.integers(0, len(LEAVES.numbers) - 1)), min_size=1, max_size=6),
)
def test_whatever_comes_and_goes_the_tree_stays_sound(fanout: int, states: list[set[int]]) -> None:
    tree = made(LEAVES.only(states[0]), fanout)
    for state in states:
        tree = grown(tree, LEAVES.only(state))


def test_equal_leaves_make_equal_trees() -> None:
    start = made(LEAVES.only(range(60)))
    first, second = (sync_tree(start, LEAVES, told) for _ in range(2))
    assert first.tree.nodes == second.tree.nodes
    assert first.touched == second.touched
    for number in first.tree.nodes:
        assert np.array_equal(first.tree.totals[number], second.tree.totals[number])


def test_nothing_new_changes_nothing() -> None:
    tree = made(LEAVES)
    later = replace(LEAVES, generation=7)
    growth = sync_tree(tree, later, told)
    assert growth.tree.nodes is tree.nodes
    assert (growth.touched, growth.gone) == (frozenset(), frozenset())
    assert (growth.tree.generation, growth.before, growth.tree.reflects) == (1, 1, 7)


def test_a_tree_can_begin_with_nothing_and_end_with_nothing() -> None:
    empty = LEAVES.only([])
    full = grown(made(empty), LEAVES)
    assert full.nodes[ROOT].count == 120
    assert max(full.depth(node.number) for node in full.walk()) <= 6
    again = grown(full, empty)
    assert list(again.nodes) == [ROOT]
    assert not again.totals[ROOT].any()
    assert again.fresh >= full.fresh


def test_numbers_are_never_given_twice() -> None:
    tree = made(LEAVES)
    seen = set(tree.nodes)
    for rows in (range(10), range(120), range(60, 90), range(120)):
        after = grown(tree, LEAVES.only(rows))
        new = after.nodes.keys() - tree.nodes.keys()
        assert seen.isdisjoint(new)
        seen |= new
        tree = after


def test_a_new_leaf_goes_where_its_like_are() -> None:
    """Every leaf that is put in later ends in a node of its topic, of which there was a leaf."""
    leaves = bunched(96, topics=8, spread=0.3)
    tree = grown(made(leaves.only([])), leaves.only(range(8)))
    for row in range(8, 96):
        tree = grown(tree, leaves.only(range(row + 1)))
    assert [len({row % 8 for row in node.rows}) for node in tree.walk() if node.rows] == (
        [1] * sum(1 for node in tree.walk() if node.rows)
    )


def test_topics_that_come_late_mix_in_few_nodes() -> None:
    """The first leaf of each lies among others, where no node is near it."""
    leaves = bunched(96, topics=8, spread=0.1)
    start = [row for row in range(96) if row % 8 < 4] + [4, 5, 6, 7]
    tree = grown(made(leaves.only([])), leaves.only(start))
    for row in range(96):
        if row not in start:
            start.append(row)
            tree = grown(tree, leaves.only(start))
    mixed = [node for node in tree.walk() if len({row % 8 for row in node.rows}) > 1]
    assert len(mixed) <= 3


def test_what_changed_is_counted_up_to_the_root_and_not_there() -> None:
    leaves = bunched(40, spread=0.2)
    tree = made(leaves.only(range(39)), 14)
    tree = replace(tree, spec=replace(tree.spec, model="somebody", fanout=20))
    after = grown(tree, leaves)
    (home,) = (node for node in after.walk() if 39 in node.rows)
    changed = {node.number: node.changed for node in after.walk()}
    assert changed == dict.fromkeys(after.nodes, 0) | {home.number: 1}
    gone = grown(after, leaves.only(range(39)))
    assert gone.nodes[home.number].changed == 2
    assert gone.nodes[ROOT].changed == 0


@pytest.mark.parametrize(
    ("changed", "count", "expected"), [(2, 10, ()), (3, 10, (1,)), (2, 9, (1,))]
)
def test_more_than_a_fifth_of_changes_makes_a_text_stale(
    changed: int, count: int, expected: tuple[int, ...]
) -> None:
    tree = made(LEAVES.only(range(40)), 10)
    nodes = {**tree.nodes, 1: replace(tree.nodes[1], changed=changed, count=count)}
    assert stale_nodes(replace(tree, nodes=nodes)) == expected


def test_stale_nodes_come_before_those_above_them() -> None:
    tree = made(LEAVES)
    nodes = {number: replace(node, changed=node.count) for number, node in tree.nodes.items()}
    order = stale_nodes(replace(tree, nodes=nodes))
    assert set(order) == tree.nodes.keys() - {ROOT}
    assert all(
        order.index(node.number) < order.index(node.parent)
        for node in tree.walk()
        if node.parent > ROOT
    )


def test_without_a_model_stale_and_new_texts_are_written_at_once() -> None:
    """Nodes of ten: one new leaf leaves a text as it is, a split does not."""
    before = made(LEAVES.only(range(100)), 10)
    before = replace(before, spec=replace(before.spec, fanout=11))
    tree = grown(before, LEAVES.only(range(101)))
    assert all("node" in node.text for node in tree.walk() if node.number != ROOT)
    assert sum(node.changed for node in tree.walk() if node.rows) == 1
    tree = grown(tree, LEAVES)
    assert stale_nodes(tree) == ()
    again = {node.number: node for node in tree.walk() if node.text.startswith("told")}
    assert tree.nodes.keys() - before.nodes.keys() <= again.keys()
    assert {number: (node.text, node.changed) for number, node in again.items()} == {
        number: (f"told {number}", 0) for number in again
    }


def test_texts_come_from_the_leaves_below() -> None:
    before = made(LEAVES.only(range(60)))
    tree = checked_change(sync_tree(before, LEAVES), LEAVES, before)
    for node in tree.walk():
        if node.rows and not node.text.startswith("node"):
            assert any(LEAVES.bodies[row].partition("\n")[0] in node.text for row in node.rows)


def test_a_models_texts_stay_until_it_writes_them_again() -> None:
    before = made(LEAVES.only(range(60)))
    before = replace(before, spec=replace(before.spec, model="somebody"))
    tree = grown(before, LEAVES)
    kept = tree.nodes.keys() & before.nodes.keys()
    assert all(tree.nodes[number].text == before.nodes[number].text for number in kept)
    new = tree.nodes.keys() - before.nodes.keys()
    assert new <= set(stale_nodes(tree))
    growth = with_texts(tree, {number: "again" for number in stale_nodes(tree)})
    assert checked_change(growth, replace(LEAVES, generation=tree.reflects), tree).generation == 3
    assert stale_nodes(growth.tree) == ()
    assert growth.touched == set(stale_nodes(tree))


def chain(leaves: SomeLeaves, fanout: int) -> Tree:
    """A tree over leaves that is as deep as may be: each node has one last node and one other."""
    rows = leaves.rows().tolist()
    tree = made(leaves, fanout)
    nodes: dict[int, Node] = {}
    below: tuple[int, ...] = ()
    for depth in range(MOST_DEPTH - 2, -1, -1):
        here = rows[depth * fanout :][: fanout if depth < MOST_DEPTH - 2 else None]
        last, above = 100 + depth, depth
        node = Node(number=last, parent=above, text="last", rows=tuple(here), count=len(here))
        count = len(here) + sum(nodes[one].count for one in below)
        nodes[last] = node
        below = (*below, last)
        text = "inner" if depth else ""
        nodes[above] = Node(number=above, parent=above - 1, text=text, children=below, count=count)
        below = (above,)
    totals = {
        number: leaves.vectors(sorted(rows_below(nodes, number))).sum(axis=0) for number in nodes
    }
    return replace(tree, nodes=nodes, totals=totals)


def rows_below(nodes: dict[int, Node], number: int) -> set[int]:
    node = nodes[number]
    return set(node.rows).union(*(rows_below(nodes, child) for child in node.children))


@pytest.mark.parametrize("method", get_args(Method))
def test_a_branch_that_grew_too_deep_is_layered_anew(method: Method) -> None:
    leaves = bunched(300, spread=0.4)
    tree = chain(leaves.only(range(21)), 3)
    tree = replace(tree, spec=replace(tree.spec, method=method))
    assert tree_faults(tree, range(21)) == []
    for count in range(22, 60, 6):
        tree = grown(tree, leaves.only(range(count)))
    assert max(tree.depth(node.number) for node in tree.walk()) <= MOST_DEPTH - 1
    if method == "top-down":  # elsewhere nothing is split, and branches near by are grouped anew
        assert any(node.text == "last" for node in tree.walk())


def test_where_leaves_were_sorted_by_topics_a_full_node_is_split_and_no_other_changes() -> None:
    leaves = bunched(85, spread=0.2)
    before = made(leaves.only(range(84)), 14)
    before = replace(before, spec=replace(before.spec, method="top-down"))
    after = grown(before, leaves)
    others = [node for node in before.walk() if node.rows and node.number in after.nodes]
    changed = [node for node in others if after.nodes[node.number].rows != node.rows]
    assert len(changed) == 1
    assert len(after.nodes) == len(before.nodes) + 1


def test_a_full_node_of_a_bottom_up_tree_is_grouped_anew_with_its_siblings() -> None:
    leaves = bunched(85, passages=5, spread=0.4)
    before = made(leaves.only(range(84)), 14)
    after = grown(before, leaves)
    fresh = build_tree(leaves, after.spec)
    assert rows_together(after) == rows_together(fresh) != rows_together(before)


def rows_together(tree: Tree) -> set[tuple[int, ...]]:
    return {node.rows for node in tree.walk() if node.rows}


def test_a_tree_that_cannot_hold_so_many_says_how_to_build_one() -> None:
    leaves = bunched(300)
    tree = made(leaves.only(range(120)), 2)
    assert tree_faults(tree, range(120)) == []
    with pytest.raises(SettingsError, match=r"at most 2 children.*300 leaves.*--fanout 14"):
        sync_tree(tree, leaves)


@pytest.mark.parametrize("vector", [np.zeros(DIMENSION), np.full(DIMENSION, DIMENSION**-0.5)])
def test_leaves_that_are_all_alike_still_fit(vector: np.ndarray) -> None:
    points = np.tile(vector.astype(np.float32), (120, 1))
    leaves = replace(LEAVES, points=points)
    assert grown(made(leaves.only([])), leaves).nodes[ROOT].count == 120
