"""Trees from the leaves up: what holds for all of them, and how a model takes part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import DIMENSION, SomeLeaves, bunched, spec

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.builders import bottom_up as module
from hoptrail.rag.tree.builders.bottom_up import Embed, bottom_up
from hoptrail.rag.tree.builders.build import build_tree, builder_for, choose_method, default_spec
from hoptrail.rag.tree.builders.requests import Reply, Request, SummaryRequest, next_requests
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.types import MOST_DEPTH, ROOT, Leaves, Method, Tree, TreeSpec
from hoptrail.rag.types import Vectors


def built(
    leaves: Leaves,
    settings: TreeSpec,
    answer: Callable[[Request], Reply],
    embed: Embed | None = None,
) -> Tree:
    """The tree of a builder that gets answers."""
    builder = bottom_up(leaves, settings, embed)
    replies: tuple[Reply, ...] | None = None
    while not isinstance(asked := next_requests(builder, replies), Tree):
        replies = tuple(map(answer, asked))
    return asked


def modelled(fanout: int = 4) -> TreeSpec:
    plain = spec(fanout)
    return TreeSpec(
        method="bottom-up",
        fanout=plain.fanout,
        model="scripted",
        embedder=plain.embedder,
        dimension=plain.dimension,
    )


def shape(tree: Tree) -> list[tuple[object, ...]]:
    return [(node.number, node.children, node.rows, node.text) for node in tree.walk()]


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(0, 200),
    passages=st.integers(1, 40),
    fanout=st.integers(2, 15),
    seed=st.integers(0, 3),
)
def test_every_tree_is_as_a_tree_must_be(count: int, passages: int, fanout: int, seed: int) -> None:
    leaves = bunched(count, passages=passages, seed=seed)
    tree = build_tree(leaves, spec(fanout, seed=seed))
    assert tree_faults(tree, leaves.rows(), leaves.vectors) == []
    assert (tree.reflects, tree.generation) == (1, 1)


@pytest.mark.parametrize(("count", "fanout"), [(256, 2), (255, 2), (200, 2), (129, 2)])
def test_a_tree_that_only_just_fits_is_not_too_deep(count: int, fanout: int) -> None:
    leaves = bunched(count)
    tree = build_tree(leaves, spec(fanout))
    assert tree_faults(tree, leaves.rows()) == []


@pytest.mark.parametrize(("count", "fanout"), [(257, 2), (6562, 3), (5, 1)])
def test_leaves_that_fit_no_tree_of_the_fan_out_are_refused(count: int, fanout: int) -> None:
    with pytest.raises(SettingsError, match=r"fan-out|at least 2 children"):
        build_tree(bunched(count), spec(fanout))


def test_the_same_seed_gives_the_same_tree() -> None:
    leaves = bunched(300)
    assert shape(build_tree(leaves, spec())) == shape(build_tree(leaves, spec()))


def test_the_passages_of_a_document_stand_together_in_runs_of_nearly_equal_length() -> None:
    leaves = bunched(150, passages=30)
    tree = build_tree(leaves, spec(14))
    last = [node.rows for node in tree.walk() if node.rows]
    assert all(np.array_equal(np.diff(rows), np.ones(len(rows) - 1)) for rows in last)
    assert all(len({row // 30 for row in rows}) == 1 for rows in last)
    assert {len(rows) for rows in last} == {10}


def test_small_documents_share_a_node_with_near_ones() -> None:
    leaves = bunched(240, passages=3, topics=8, spread=0.05)
    tree = build_tree(leaves, spec(12))
    last = [node.rows for node in tree.walk() if node.rows]
    pure = sum(len({row // 3 % 8 for row in rows}) == 1 for rows in last)
    assert pure >= len(last) - 4
    assert all(len(rows) % 3 == 0 and len(rows) > 3 for rows in last)


def test_one_small_document_among_long_ones_does_not_stand_alone() -> None:
    leaves = bunched(81, passages=10)
    tree = build_tree(leaves, spec(14))
    assert min(len(node.rows) for node in tree.walk() if node.rows) > 1


def test_few_leaves_stand_right_below_the_root() -> None:
    tree = build_tree(bunched(14, passages=7), spec(14))
    assert tree.nodes[ROOT].rows == tuple(range(14))
    assert len(tree.nodes) == 1


def test_a_model_reads_the_leaves_then_what_it_wrote() -> None:
    asked: list[SummaryRequest] = []

    def answer(ask: Request) -> Reply:
        assert isinstance(ask, SummaryRequest)
        asked.append(ask)
        return f"summary {len(asked)}"

    leaves = bunched(60)
    tree = built(leaves, modelled(), answer)
    assert tree_faults(tree, leaves.rows(), leaves.vectors) == []
    assert len(asked) == len(tree.nodes) - 1
    by_text = {node.text: node for node in tree.walk() if node.number != ROOT}
    for at, ask in enumerate(asked, start=1):
        node = by_text[f"summary {at}"]
        below = [tree.nodes[child].text for child in node.children]
        assert ask.texts == (tuple(below) or leaves.texts(node.rows))


def test_layers_are_grouped_by_what_the_model_wrote() -> None:
    """The vectors of the summaries say another thing than those of the leaves."""
    leaves = bunched(64, topics=16, spread=0.01)

    def kind(text: str) -> int:
        return int(text.split()[1])

    def answer(ask: Request) -> Reply:
        assert isinstance(ask, SummaryRequest)
        words = ask.texts[0].split()
        record = int(words[1]) if words[0] == "Record" else kind(ask.texts[0])
        return f"parity {record % 2}"

    def embed(texts: Sequence[str]) -> Vectors:
        return np.eye(DIMENSION, dtype=np.float32)[[kind(text) for text in texts]]

    tree = built(leaves, modelled(), answer, embed)
    assert tree_faults(tree, leaves.rows(), leaves.vectors) == []
    lowest = [node for node in tree.walk() if node.children and node.number != ROOT]
    last = [node for node in lowest if tree.nodes[node.children[0]].rows]
    kinds = [{tree.nodes[child].text for child in node.children} for node in last]
    assert sum(len(one) == 1 for one in kinds) >= len(kinds) - 1


@pytest.mark.parametrize("reply", [None, "", "  \n", ("a", "tuple")])
def test_where_no_reply_can_be_had_the_documents_own_words_stand(reply: Reply) -> None:
    leaves = bunched(60)
    tree = built(leaves, modelled(), lambda _: reply)
    assert tree_faults(tree, leaves.rows(), leaves.vectors) == []
    texts = [node.text for node in tree.walk() if node.rows]
    assert all(text.startswith("Record") for text in texts)
    assert shape(tree)[0][1] == shape(build_tree(leaves, spec()))[0][1]


def test_only_some_texts_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REQUESTED", 5)
    leaves = bunched(100)
    builder = bottom_up(leaves, modelled())
    replies: tuple[Reply, ...] | None = None
    while not isinstance(asked := next_requests(builder, replies), Tree):
        assert 0 < len(asked) <= 5
        replies = tuple(f"text {at}" for at in range(len(asked)))
    assert tree_faults(asked, leaves.rows()) == []


def test_equal_inputs_give_equal_asks() -> None:
    def asks() -> list[Request]:
        found: list[Request] = []

        def answer(ask: Request) -> Reply:
            found.append(ask)
            return None if len(found) % 3 == 0 else f"text {len(found)}"

        built(bunched(90), modelled(), answer)
        return found

    assert asks() == asks()


@pytest.mark.parametrize("method", ["bottom-up", "top-down"])
def test_both_methods_plant_a_tree_and_say_how_far_they_are(method: Method) -> None:
    leaves = bunched(200)
    settings = TreeSpec(method=method, fanout=6, embedder="test", dimension=DIMENSION)
    heard: list[tuple[int, int]] = []
    tree = build_tree(leaves, settings, lambda done, total: heard.append((done, total)))
    assert tree_faults(tree, leaves.rows(), leaves.vectors) == []
    assert tree.spec == settings
    assert shape(tree) == shape(build_tree(leaves, settings))
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert {total for _, total in heard} == {200}
    assert 100 <= heard[-1][0] <= 200
    assert next_requests(builder_for(settings)(leaves, settings), None) is not None


@pytest.mark.parametrize(
    ("passages", "model", "method"),
    [(1, "", "bottom-up"), (5, "", "bottom-up"), (5, "m", "bottom-up"), (1, "m", "top-down")],
)
def test_the_method_follows_from_the_documents(passages: int, model: str, method: Method) -> None:
    assert choose_method(bunched(50, passages=passages), model) == method


def test_how_a_tree_is_made_unless_told() -> None:
    leaves: SomeLeaves = bunched(5)
    assert default_spec(leaves, "mini") == TreeSpec(
        method="bottom-up", embedder="mini", dimension=DIMENSION
    )


def test_depth_is_that_of_a_tree_with_nearly_full_nodes() -> None:
    tree = build_tree(bunched(2500, topics=40), spec(14))
    deepest = max(tree.depth(node.number) + 1 for node in tree.walk())
    assert deepest == 4 < MOST_DEPTH
