"""Nodes that go on where leaves were grouped anew."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.tree.mutable_tree import surviving_nodes


def test_a_group_goes_on_with_the_node_that_is_most_of_it() -> None:
    nodes = {7: (1, 2, 3), 8: (4, 5, 6, 9)}
    assert surviving_nodes(nodes, [{1, 2, 4}, {3, 5, 6, 9}]) == [7, 8]


def test_a_node_with_half_of_its_leaves_in_a_group_does_not_survive() -> None:
    assert surviving_nodes({7: (1, 2, 3, 4)}, [{1, 2}, {3, 4}]) == [None, None]


def test_a_node_that_is_half_of_a_group_does_not_survive() -> None:
    assert surviving_nodes({7: (1, 2), 8: (3, 4)}, [{1, 2, 3, 4}]) == [None]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40))
def test_no_node_goes_on_twice_and_each_is_what_it_is_said_to_be(
    places: list[tuple[int, int]],
) -> None:
    before: dict[int, set[int]] = defaultdict(set)
    after: dict[int, set[int]] = defaultdict(set)
    for row, (node, group) in enumerate(places):
        before[node].add(row)
        after[group].add(row)
    groups = list(after.values())
    found = surviving_nodes(before, groups)
    named = [number for number in found if number is not None]
    assert len(named) == len(set(named))
    for number, group in zip(found, groups, strict=True):
        fitting = [
            one
            for one, rows in before.items()
            if 2 * len(rows & group) > max(len(rows), len(group))
        ]
        assert fitting == ([] if number is None else [number])
