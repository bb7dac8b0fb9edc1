"""Stale texts of a tree written again: which are asked for, in which order, and what stays."""

from __future__ import annotations

from dataclasses import replace

from support.tree import bunched, made

from hoptrail.rag.tree.builders.requests import Reply, SummaryRequest, next_requests
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.types import Leaves, Tree
from hoptrail.rag.tree.update import resummarize, stale_nodes, sync_tree


def written(tree: Tree, *numbers: int, model: str = "m") -> Tree:
    """The tree as a model's, with so many leaves changed below some nodes as there are."""
    nodes = dict(tree.nodes)
    for number in numbers:
        nodes[number] = replace(nodes[number], changed=nodes[number].count)
    return replace(tree, nodes=nodes, spec=replace(tree.spec, model=model))


def run(tree: Tree, leaves: Leaves, *replies: Reply) -> tuple[Tree, list[tuple[str, ...]]]:
    """What becomes of a tree, and what was shown; replies are given in turn, then None."""
    builder, shown, left = resummarize(tree, leaves), [], list(replies)
    came = next_requests(builder, None)
    while not isinstance(came, Tree):
        assert all(isinstance(ask, SummaryRequest) for ask in came)
        shown += [ask.texts for ask in came if isinstance(ask, SummaryRequest)]
        came = next_requests(builder, tuple(left.pop(0) if left else None for _ in came))
    return came, shown


def test_stale_texts_are_written_from_below_and_those_above_show_the_new_ones() -> None:
    leaves = bunched(64)
    whole = made(leaves, 4)
    last = next(node for node in whole.walk() if node.rows)
    tree = written(whole, last.number, last.parent)
    after, shown = run(tree, leaves, "of leaves", "of nodes")
    assert shown[0] == leaves.texts(last.rows)
    siblings = [whole.nodes[number].text for number in whole.nodes[last.parent].children]
    assert shown[1] == ("of leaves", *siblings[1:])
    assert after.nodes[last.number].text == "of leaves"
    assert after.nodes[last.parent].text == "of nodes"
    assert stale_nodes(after) == ()
    others = after.nodes.keys() - {last.number, last.parent}
    assert all(after.nodes[number] == tree.nodes[number] for number in others)
    assert after.generation > tree.generation


def test_a_text_that_cannot_be_had_stays_and_stays_stale() -> None:
    leaves = bunched(64)
    tree = made(leaves, 4)
    some = [node.number for node in tree.walk() if node.rows][:3]
    after, shown = run(written(tree, *some), leaves, None, "new", "  ")
    assert len(shown) == 3
    assert [after.nodes[number].text for number in some] == [
        tree.nodes[some[0]].text, "new", tree.nodes[some[2]].text
    ]  # fmt: skip
    assert set(stale_nodes(after)) == {some[0], some[2]}


def test_nothing_is_asked_where_nothing_is_stale() -> None:
    leaves = bunched(40)
    tree = written(made(leaves, 4))
    assert run(tree, leaves) == (tree, [])


def test_what_came_to_a_model_s_tree_is_what_it_is_asked_about() -> None:
    leaves = bunched(200)
    tree = written(made(leaves.only(range(100)), 6))
    grown = sync_tree(tree, leaves).tree
    wanted = set(stale_nodes(grown))
    assert wanted
    after, shown = run(grown, leaves, *["told anew"] * len(wanted))
    assert len(shown) == len(wanted)
    assert {number for number, node in after.nodes.items() if node.text == "told anew"} == wanted
    assert stale_nodes(after) == ()
    assert tree_faults(after, leaves.rows().tolist(), leaves.vectors) == []
