"""Measures: hand-computed numbers, and bounds for any input."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.evals.metrics.aggregate import Mean, average
from hoptrail.evals.metrics.answers import contains, exact_match, f1, normalize_answer
from hoptrail.evals.metrics.ranking import first_occurrences, ndcg, recall

ids = st.lists(st.sampled_from("abcdefgh"), max_size=12)
answers = st.text(alphabet="aA tThe.,yesno0é", max_size=12)


def test_recall_by_hand() -> None:
    ranking = ["x", "a", "a", "y", "b", "c"]
    relevant = {"a", "b", "c", "d"}
    expected = {1: 0.0, 2: 0.25, 3: 0.25, 4: 0.5, 5: 0.75, 100: 0.75}
    assert {k: recall(ranking, relevant, k) for k in expected} == expected


def test_recall_without_gold_is_not_scored() -> None:
    assert recall(["a"], set(), 5) is None
    assert recall([], {"a"}, 5) == 0


def test_passages_become_records_by_first_occurrence() -> None:
    assert first_occurrences(["b", "a", "b", "c", "a"]) == ("b", "a", "c")


def test_ndcg_by_hand() -> None:
    grades = {"a": 3, "b": 2, "c": 0, "d": 1}
    gained = 2 / math.log2(2) + 0 + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(["b", "x", "a", "d"], grades, 3) == pytest.approx(gained / ideal)
    assert ndcg(["a", "b", "d"], grades, 10) == pytest.approx(1)
    assert ndcg(["a"], {"a": 0}, 10) is None


@given(ranking=ids, relevant=st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_rankings_score_between_0_and_1_and_recall_grows(
    ranking: list[str], relevant: set[str]
) -> None:
    scores = [recall(ranking, relevant, k) or 0.0 for k in range(1, 13)]
    assert scores == sorted(scores)
    assert 0 <= scores[0] <= scores[-1] <= 1
    gain = ndcg(ranking, dict.fromkeys(relevant, 2), 5)
    assert gain is not None
    assert 0 <= gain <= 1 + 1e-9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat's\tHat!", "cats hat"),
        ("a.n.", ""),  # punctuation goes first, and what is left is an article
        ("Theatre another", "theatre another"),
        ("U.S.A.", "usa"),
        ("«Élan»", "«élan»"),  # ASCII punctuation only, as published
        ("the a an", ""),
    ],
)
def test_normalised_as_squad_does(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


def test_f1_by_hand() -> None:
    # 2 of 3 given and 2 of 4 wanted tokens: P = 2/3, R = 1/2.
    assert f1("north sea ship", ["the cold north sea wind"]) == pytest.approx(4 / 7)
    # Multiset: "b" counts once.
    assert f1("b b", ["b c"]) == pytest.approx(0.5)
    assert f1("x", ["y"]) == 0
    assert f1("north", ["south", "north pole"]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("yes", "yes", 1),
        ("Yes.", "yes", 1),
        ("yes it is", "yes", 0),
        ("no way", "way no", 1),
        ("no", "no idea", 0),
        ("noanswer", "x noanswer", 0),
    ],
)
def test_f1_of_closed_answers_follows_hotpotqa(said: str, gold: str, score: float) -> None:
    assert f1(said, [gold]) == score


@pytest.mark.parametrize(("said", "gold", "score"), [("the", "a", 1), ("the", "x", 0), ("", "", 1)])
def test_f1_without_tokens_is_equality(said: str, gold: str, score: float) -> None:
    assert f1(said, [gold]) == score
    assert exact_match(said, [gold]) == score


def test_exact_match_takes_the_best_gold() -> None:
    assert exact_match("The Beatles!", ["Rolling Stones", "beatles"]) == 1
    assert exact_match("beatles band", ["beatles"]) == 0


def test_contains_by_hand() -> None:
    assert contains("It sank in March 1911, they say.", ["1912", "march 1911"]) == 1
    assert contains("It sank in 1911.", ["March 1911"]) == 0
    assert contains("anything", ["the"]) == 0  # a gold without tokens stands in every text


@pytest.mark.parametrize("measure", [exact_match, f1, contains])
def test_no_gold_is_not_scored(measure: object) -> None:
    assert callable(measure)
    assert measure("anything", []) is None


@given(said=answers, gold=st.lists(answers, min_size=1, max_size=3))
def test_exact_is_within_f1_and_containment(said: str, gold: list[str]) -> None:
    exact, overlap, inside = exact_match(said, gold), f1(said, gold), contains(said, gold)
    assert exact is not None
    assert overlap is not None
    assert inside is not None
    assert exact in (0, 1)
    assert exact <= overlap <= 1
    assert exact <= inside <= 1


def test_average_leaves_out_what_is_not_scored() -> None:
    assert average([1.0, None, 0.0, 0.5]) == Mean(value=0.5, count=3)
    assert average([None]) == Mean(value=None, count=0)
