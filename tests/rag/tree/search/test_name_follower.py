"""Where the best leaves lead, and that the local scorer goes there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.tree.search.local_scorer import HOP, WAY, NameFollower, local_scorer
from hoptrail.rag.tree.search.types import Item, Lead, Ref, Slate

QUESTION = "Where was the director of Silent Harbour born?"
FILM = "Silent Harbour\nSilent Harbour is a 1931 film directed by Alma Berg for a small studio."
PERSON = "Alma Berg\nAlma Berg was born in Tarn Hollow and worked there."
OTHER = "Otto Renn\nOtto Renn kept bees."


def item(number: int, text: str, *, leaf: bool = True) -> Item:
    return Item(ref=Ref(leaf=leaf, number=number), text=text, count=1, likeness=0.0)


def lead(text: str, relevance: float = 0.8) -> Lead:
    return Lead(item=item(9, text), relevance=relevance)


def test_a_leaf_that_the_best_one_names_is_followed() -> None:
    trail = NameFollower(QUESTION, [lead(FILM)])
    assert trail.lifted(item(2, PERSON), 0.2) == pytest.approx(0.8 * (HOP + (1 - HOP) * 0.2))
    assert trail.lifted(item(2, PERSON), 0.9) == 0.9
    assert trail.lifted(item(3, OTHER), 0.2) == 0.2


def test_the_better_of_two_that_name_it_counts() -> None:
    person = item(2, PERSON)
    both = NameFollower(QUESTION, [lead(FILM, 0.4), lead(FILM, 0.9)])
    assert both.lifted(person, 0.1) == NameFollower(QUESTION, [lead(FILM, 0.9)]).lifted(person, 0.1)


def test_an_inner_node_that_has_the_name_is_worth_a_look() -> None:
    trail = NameFollower(QUESTION, [lead(FILM)])
    named = item(5, "Alma Berg; Ida Berg. film, stage", leaf=False)
    assert trail.lifted(named, 0.1) == pytest.approx(WAY * 0.8)
    assert trail.lifted(item(6, "Bees and honey", leaf=False), 0.1) == 0.1


def test_what_the_question_names_leads_nowhere() -> None:
    trail = NameFollower(QUESTION, [lead("Ships\nAmong them is Silent Harbour, built late.", 1.0)])
    assert trail.lifted(item(2, "Silent Harbour\nA ship."), 0.3) == 0.3


def scored(leads: Sequence[Lead]) -> list[float]:
    items = (item(2, PERSON), item(3, OTHER))
    (graded,) = local_scorer(QUESTION)([Slate(node=1, items=items, leads=tuple(leads))])
    return [graded.scores[0], graded.scores[1]]


def test_the_local_scorer_follows_its_leads() -> None:
    before, after = scored([]), scored([lead(FILM)])
    assert after[0] > 0.8 * HOP > before[0]
    assert after[1] == before[1]


@given(st.text(max_size=60), st.text(max_size=200), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_nothing_is_lifted_beyond_one_or_lowered(
    query: str, text: str, relevance: float, score: float, leaf: bool
) -> None:
    lifted = NameFollower(query, [lead(text, relevance)]).lifted(item(1, text, leaf=leaf), score)
    assert score <= lifted <= 1
