"""Texts in the documents' own words: short, never blank, and telling a node from its siblings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import TOPICS, SomeLeaves, bunched, made, spec

from hoptrail.rag.tree.builders.assembly import Branch, assemble_tree
from hoptrail.rag.tree.builders.extractive_text import extractive_texts, with_extractive_texts
from hoptrail.rag.tree.types import ROOT, Tree


def saying(*bodies: str) -> SomeLeaves:
    """Leaves of these texts, all of one document each, all in one direction."""
    count = len(bodies)
    return SomeLeaves(
        numbers=np.arange(count),
        firsts=np.arange(count),
        points=np.tile(np.eye(1, 16, dtype=np.float32), (count, 1)),
        bodies=bodies,
    )


def grove(leaves: SomeLeaves, *nodes: tuple[int, ...]) -> Tree:
    """The root, and below it a node of each of these rows."""
    root = Branch(branches=tuple(Branch(rows=rows) for rows in nodes))
    return assemble_tree(root, leaves, spec(14))


def written(leaves: SomeLeaves, *nodes: tuple[int, ...]) -> tuple[str, ...]:
    tree = with_extractive_texts(grove(leaves, *nodes), leaves)
    return tuple(tree.nodes[number].text for number in tree.nodes[ROOT].children)


def test_titles_then_what_tells_it_from_its_siblings_then_the_middle_leafs_sentence() -> None:
    leaves = saying(
        "Oslo\nOslo is a cold city. Its Fram Museum is by the water.",
        "Bergen\nBergen is a cold city, and has a Fram Museum as well.",
        "Rome\nRome is a warm city. The Roman Forum is old.",
        "Pisa\nPisa is a warm city, older than the Roman Forum.",
    )
    north, south = written(leaves, (0, 1), (2, 3))
    assert north == "Oslo; Bergen. cold city, Fram Museum, water. Oslo is a cold city."
    assert south == "Rome; Pisa. Roman Forum, warm city, old, older. Rome is a warm city."


def test_the_middle_leaf_is_the_one_nearest_to_the_mean() -> None:
    leaves = saying("a\nEdge one.", "b\nThe middle.", "c\nEdge two.", "d\nElse.")
    points = leaves.points.copy()
    points[0, :2], points[2, :2] = (0.8, 0.6), (0.8, -0.6)
    (first, _) = written(replace(leaves, points=points), (0, 1, 2), (3,))
    assert first.startswith("b; ")
    assert first.endswith("The middle.")


def test_topics_are_told_apart_on_every_layer() -> None:
    leaves = bunched(160, passages=20, spread=0.1)
    tree = with_extractive_texts(made(leaves), leaves)
    blank = replace(
        tree, nodes={number: replace(node, text="") for number, node in tree.nodes.items()}
    )
    for number, text in extractive_texts(blank, sorted(tree.nodes.keys() - {ROOT}), leaves).items():
        rows = [row for node in tree.walk(number) for row in node.rows]
        topics = {row // 20 % len(TOPICS) for row in rows}
        assert any(TOPICS[topic][0] in text for topic in topics)
        if len(topics) == 1:
            others = [words[0] for at, words in enumerate(TOPICS) if at not in topics]
            assert not any(other in text for other in others)


def test_node_texts_that_are_written_stay() -> None:
    leaves = bunched(64)
    tree = made(leaves)
    assert with_extractive_texts(tree, leaves).nodes == tree.nodes


def test_only_the_nodes_that_are_asked_for_get_a_text() -> None:
    leaves = bunched(64)
    tree = made(leaves)
    assert extractive_texts(tree, [3, 17], leaves).keys() == {3, 17}
    assert extractive_texts(tree, [], leaves) == {}
    assert extractive_texts(tree, [3], leaves)[3] == extractive_texts(tree, [17, 3], leaves)[3]


def test_leaves_that_are_gone_say_nothing() -> None:
    assert written(saying("", "", "a\nHere."), (0, 1), (2,)) == ("untitled", "a. Here.")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("東京\n東京は日本の首都である。人口は多い。", "東京は日本の首都である。"),
        ("\nNo title at all. More.", "No title at all."),
        ("A title\n", "A title"),
        ("only a text without any line", "only a text without any line"),
        ("St. Ives\nDr. J. R. Smith lived in St. Ives for years. Then he left.", "Smith lived"),
    ],
)
def test_the_text_over_an_unusual_leaf(body: str, part: str) -> None:
    assert part in written(saying(body, "other\nSomething else."), (0,), (1,))[0]


def test_stop_words_of_the_texts_own_language_are_no_phrases() -> None:
    leaves = saying(
        "Köln\nDer Dom ist das Wahrzeichen der Stadt und nicht zu übersehen.",
        "Bonn\nDas Haus der Geschichte ist in der Stadt und nicht zu übersehen.",
        "Ulm\nDas Münster ist das Wahrzeichen der Stadt.",
    )
    phrases = written(leaves, (0, 1), (2,))[0].split(". ")[1].split(", ")
    assert not {"der", "das", "ist", "und", "nicht", "zu"} & {one.casefold() for one in phrases}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=400), min_size=2, max_size=30))
def test_any_text_gives_one_that_is_short_and_not_blank(bodies: list[str]) -> None:
    leaves = saying(*bodies)
    for text in written(leaves, tuple(range(1, len(bodies))), (0,)):
        assert text.strip()
        assert len(text.split()) <= 80
        assert len(text) <= 800


def test_a_long_title_and_a_leaf_without_an_end_are_cut() -> None:
    body = "title " * 100 + "\n" + "word " * 5000
    text = written(saying(body, "b\nb"), (0,), (1,))[0]
    assert text.startswith("title " * 11 + "title. word")
    assert len(text.split()) <= 80
