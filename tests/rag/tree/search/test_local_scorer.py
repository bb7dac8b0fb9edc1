"""The scorer without a model."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.search.local_scorer import INNER_WORDS, LEAF_WORDS, NAMED, local_scorer
from hoptrail.rag.tree.search.types import Item, Ref, Slate


def leaf(number: int, text: str, likeness: float = 0.0) -> Item:
    return Item(ref=Ref(leaf=True, number=number), text=text, count=1, likeness=likeness)


def inner(number: int, text: str, likeness: float = 0.0) -> Item:
    return Item(ref=Ref(leaf=False, number=number), text=text, count=9, likeness=likeness)


def slate(*items: Item, node: int = 0, anchors: tuple[Item, ...] = ()) -> Slate:
    return Slate(node=node, items=items, anchors=anchors)


def scores(query: str, *items: Item) -> list[float]:
    (graded,) = local_scorer(query)([slate(*items)])
    return [graded.scores[place] for place in range(len(items))]


texts = st.text(alphabet="abc XY12.é", max_size=30)
items = st.builds(leaf, st.integers(0, 50), texts, st.floats(-1, 1)) | st.builds(
    inner, st.integers(0, 50), texts, st.floats(-1, 1)
)


@given(texts, st.lists(st.lists(items, min_size=1, max_size=6), max_size=3))
@settings(deadline=None, max_examples=50)
def test_every_place_of_every_slate_is_scored_within_bounds(
    query: str, lists: list[list[Item]]
) -> None:
    slates = [slate(*some[:4], anchors=tuple(some[4:])) for some in lists]
    answers = local_scorer(query)(slates)
    assert [set(one.scores) for one in answers] == [set(range(len(s.shown))) for s in slates]
    assert all(0 <= score <= 1 for one in answers for score in one.scores.values())
    assert not any(one.failed for one in answers)
    assert answers == local_scorer(query)(slates)


def test_the_scores_of_two_items_by_hand() -> None:
    # "bake" is in one of two items, "bread" in both.
    weight = {"bake": math.log(1 + 2 / 2), "bread": math.log(1 + 2 / 3)}
    share = weight["bread"] / sum(weight.values())
    found = scores("to bake bread", leaf(1, "Baking bread"), inner(2, "bread, rolls", 0.5))
    assert found == pytest.approx([LEAF_WORDS, INNER_WORDS * share + (1 - INNER_WORDS) * 0.5])


def test_a_name_counts_as_many_words_and_so_does_a_number() -> None:
    plain = scores("was maria", leaf(1, "maria"), leaf(2, "nobody"))
    for query, text in (("where did Curie work", "Curie"), ("what work in 1903", "1903")):
        has, lacks = scores(query, leaf(1, text), leaf(2, "work"))
        assert has == pytest.approx(NAMED * lacks)
    assert plain == pytest.approx([LEAF_WORDS, 0])


def test_the_first_word_of_a_question_is_no_name() -> None:
    assert scores("Rivers of Bavaria", leaf(1, "river"), leaf(2, "Bavaria")) == pytest.approx(
        [LEAF_WORDS / (1 + NAMED), LEAF_WORDS * NAMED / (1 + NAMED)]
    )


def test_a_rare_word_counts_more_than_one_that_most_items_have() -> None:
    common = [leaf(number, "harbour") for number in range(2, 9)]
    rare, often, *_ = scores("glacier harbour", leaf(1, "glacier"), *common)
    # One of eight items has the first word, seven have the second.
    weight = {"glacier": math.log(1 + 8 / (1 + 1)), "harbour": math.log(1 + 8 / (1 + 7))}
    whole = LEAF_WORDS / sum(weight.values())
    assert (rare, often) == pytest.approx((whole * weight["glacier"], whole * weight["harbour"]))
    assert rare > often


def test_likeness_decides_where_no_word_does_and_a_negative_one_is_none() -> None:
    found = scores("glacier", leaf(1, "x", 0.9), leaf(2, "x", 0.2), leaf(3, "x", -0.4))
    assert found == pytest.approx([(1 - LEAF_WORDS) * 0.9, (1 - LEAF_WORDS) * 0.2, 0])


def test_a_query_without_words_goes_by_likeness() -> None:
    assert scores("of the?", leaf(1, "anything", 0.5)) == pytest.approx([(1 - LEAF_WORDS) * 0.5])


def test_an_anchor_is_scored_as_the_leaf_it_is() -> None:
    new, old = leaf(1, "glacier", 0.1), leaf(2, "harbour glacier", 0.3)
    (graded,) = local_scorer("harbour glacier")([slate(new, anchors=(old,))])
    assert graded.scores[1] > graded.scores[0]
    assert local_scorer("harbour glacier")([]) == ()


def test_words_are_those_of_the_language() -> None:
    german = local_scorer("die Häuser", "german")([slate(leaf(1, "das Haus"), leaf(2, "die der"))])
    assert german[0].scores == pytest.approx({0: LEAF_WORDS, 1: 0.0})
    with pytest.raises(SettingsError, match="klingon"):
        local_scorer("nuqneH", "klingon")
