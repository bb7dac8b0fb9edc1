"""Scoring slates without a model: by words, likeness, and the names that led there."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.tree.likely import HOP, WAY, WORDS, likely
from hoptrail.rag.tree.types import Item, Lead, Ref, Slate

QUESTION = "Where was the director of Silent Harbour born?"
FILM = "Silent Harbour\nSilent Harbour is a 1931 film directed by Alma Berg for a small studio."
PERSON = "Alma Berg\nAlma Berg was born in Tarn Hollow and worked there."
OTHER = "Otto Renn\nOtto Renn kept bees."


def item(number: int, text: str, *, leaf: bool = True, likeness: float = 0.0) -> Item:
    return Item(ref=Ref(leaf=leaf, number=number), text=text, count=1, likeness=likeness)


def scored(*items: Item, leads: Sequence[Lead] = (), query: str = QUESTION) -> list[float]:
    slate = Slate(node=1, items=items, leads=tuple(leads))
    (graded,) = likely(query)([slate])
    assert not graded.failed
    assert sorted(graded.scores) == list(range(len(items)))
    return [graded.scores[place] for place in range(len(items))]


def test_words_and_likeness_by_hand() -> None:
    """Of `red` and `glass`, one stands in the first text, both in the second."""
    found = scored(
        item(1, "\nA red door", likeness=0.5),
        item(2, "\nRed glasses", likeness=-0.2),
        item(3, "\nNothing of it", likeness=1.0),
        query="red glass",
    )
    assert found == pytest.approx([WORDS * 0.5 + (1 - WORDS) * 0.5, WORDS, 1 - WORDS])


def test_a_leaf_that_the_best_one_names_is_followed() -> None:
    person, other = item(2, PERSON), item(3, OTHER)
    before = scored(person, other)
    lead = Lead(item=item(1, FILM), relevance=0.8)
    after = scored(person, other, leads=[lead])
    assert after[0] > 0.8 * HOP * 0.8 > before[0]
    assert after[1] == before[1]


def test_the_better_of_two_leads_counts() -> None:
    leads = [
        Lead(item=item(number, FILM), relevance=value) for number, value in ((1, 0.9), (4, 0.2))
    ]
    assert scored(item(2, PERSON), leads=leads) == scored(item(2, PERSON), leads=leads[:1])
    assert scored(item(2, PERSON), leads=leads) > scored(item(2, PERSON), leads=leads[1:])


def test_an_inner_node_that_has_the_name_is_worth_a_look() -> None:
    nodes = [item(5, "Alma Berg; Ida Berg. film, stage", leaf=False), item(6, "Bees", leaf=False)]
    lead = Lead(item=item(1, FILM), relevance=0.8)
    assert scored(*nodes, leads=[lead]) == pytest.approx([WAY * 0.8, scored(nodes[1])[0]])


def test_what_the_question_names_leads_nowhere() -> None:
    """Everything about it is found by the question itself."""
    same = item(2, "Silent Harbour\nA ship.")
    lead = Lead(item=item(1, "Ships\nAmong them is Silent Harbour, built late."), relevance=1.0)
    assert scored(same, leads=[lead]) == scored(same)


def test_slates_do_not_depend_on_each_other() -> None:
    slates = [Slate(node=at, items=(item(at, text),)) for at, text in enumerate((FILM, PERSON))]
    grade = likely(QUESTION)
    both = grade(slates)
    assert [grade([one])[0] for one in slates] == list(both) == list(likely(QUESTION)(slates))
    assert grade([]) == ()


@given(
    query=st.text(max_size=60),
    text=st.text(max_size=200),
    likeness=st.floats(-1, 1),
    relevance=st.floats(0, 1),
    leaf=st.booleans(),
)
def test_scores_lie_in_0_to_1(
    query: str, text: str, likeness: float, relevance: float, leaf: bool
) -> None:
    lead = Lead(item=item(9, text), relevance=relevance)
    (score,) = scored(item(1, text, leaf=leaf, likeness=likeness), leads=[lead], query=query or "x")
    assert 0 <= score <= 1
    assert score >= scored(item(1, text, leaf=leaf, likeness=likeness), query=query or "x")[0]


def test_a_language_without_an_analyser_is_refused() -> None:
    with pytest.raises(SettingsError, match="klingon"):
        likely("word", "klingon")
