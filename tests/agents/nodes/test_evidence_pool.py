"""The standing of passages over all rounds, and the evidence pool; numbers worked out by hand."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import evidence

from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.roles.common import too_alike
from hoptrail.agents.types import Candidate, Evidence, Purpose, Query, evidence_id
from hoptrail.rag.types import Hit, Passage, Ranking, tie_break


def passage(name: str, title: str = "", text: str = "") -> Passage:
    return Passage(
        id=name, document_id=f"doc {name}", start=0, end=len(text), title=title, text=text
    )


def ranked(query: str, *hits: tuple[Passage, float]) -> Ranking:
    found = tuple(Hit(passage=p, score=score, source="hybrid") for p, score in hits)
    return Ranking(query=query, hits=found, generation=1)


def asked(text: str, purpose: Purpose = "question", weight: float = 1.0) -> Query:
    return Query(text=text, purpose=purpose, weight=weight)


def merged(
    before: Sequence[Candidate], found: Iterable[tuple[Query, Ranking]], number: int
) -> tuple[Candidate, ...]:
    """The candidates after a retrieval, as its node and the state's reducer make them."""
    return pool.merge_candidates(before, pool.raised_by(before, found, number))


A, B, C = passage("a", "Heron (ship)"), passage("b", "Ilsa Corrin"), passage("c", "Fog")
FIRST = (asked("whole question"), ranked("whole question", (A, 8.0), (B, 4.0), (C, 1.0)))


def scores(candidates: tuple[Candidate, ...]) -> dict[str, float]:
    return {c.passage_id: c.score for c in candidates}


def test_the_question_gives_each_passage_its_own_standing() -> None:
    found = merged((), [FIRST], 1)
    assert [(c.passage_id, c.score, c.own) for c in found] == [
        ("a", 1.0, 1.0), ("b", 0.5, 0.5), ("c", 0.125, 0.125),
    ]  # fmt: skip
    assert {(c.round, c.query) for c in found} == {(1, "whole question")}
    assert found[0].document_id == "doc a"


@pytest.mark.parametrize(
    ("name", "title", "score"),
    [
        # own .125 + weight .5 * worth * min(1, .5 + .25 * words)
        ("Fog", "Fog", 0.125 + 0.5 * 1.0 * 0.75),
        ("Fog", "Fog (film)", 0.125 + 0.5 * 0.95 * 0.75),
        ("Fog Bank", "fog bank", 0.125 + 0.5 * 1.0 * 1.0),
        ("Fog of Old Times", "Fog of Old Times", 0.125 + 0.5 * 1.0 * 1.0),
        ("Fog", "Thick Fog", 0.125 + 0.5 * (0.8 / 2) * 0.75),  # it mentions it, in second place
    ],
)
def test_a_subject_adds_to_the_standing_of_what_bears_it_as_title(
    name: str, title: str, score: float
) -> None:
    named = passage("c", title)
    first = (FIRST[0], ranked("q", (A, 8.0), (B, 4.0), (named, 1.0)))
    query = asked(name, "subject", 0.5)
    found = merged((), [first, (query, ranked(name, (A, 3.0), (named, 2.0)))], 1)
    assert scores(found)["c"] == pytest.approx(score)
    assert scores(found)["a"] == 1.0


def test_where_no_title_bears_it_the_first_three_that_mention_a_name_count() -> None:
    texts = ["of Maddock Yard", "nothing", "MADDOCK  YARD", "Maddock Yard", "Maddock Yard"]
    hits = [(passage(f"m{i}", "Other", text), 9.0 - i) for i, text in enumerate(texts)]
    query = asked("Maddock Yard", "subject", 0.5)
    # worth .8 / (1 + place), two words: factor 1, weight .5; the second mentions nothing
    assert scores(merged((), [(query, ranked("x", *hits))], 1)) == {
        "m0": pytest.approx(0.5 * 0.8),
        "m2": pytest.approx(0.5 * 0.8 / 3, abs=1e-6),
    }


def test_a_bridge_lifts_to_below_the_passage_it_was_read_in() -> None:
    before = merged((), [FIRST], 1)
    query = asked("Fog", "bridge", 0.97)
    found = merged(before, [(query, ranked("Fog", (C, 1.0)))], 2)
    # OWN_SHARE is .3 and the own standing .125, so 1 - .3 + .3 x .125 of the weight stays
    assert scores(found)["c"] == pytest.approx(0.97 * 0.7375, abs=1e-6)
    assert [c.passage_id for c in found] == ["a", "c", "b"]
    lifted = found[1]
    assert (lifted.round, lifted.query, lifted.own) == (1, "Fog", 0.125)


def test_a_bridge_to_an_unknown_passage_has_no_standing_of_its_own() -> None:
    new = passage("n", "Tarn Hollow")
    query = asked("Tarn Hollow", "bridge", 0.5)
    (found,) = merged((), [(query, ranked("x", (new, 1.0)))], 3)
    assert (found.score, found.own, found.round) == (pytest.approx(0.35), 0.0, 3)


def test_a_gap_counts_by_its_weight() -> None:
    query = asked("born where", "gap", 0.95)
    found = merged((), [(query, ranked("x", (A, 6.0), (B, 3.0)))], 2)
    assert scores(found) == {"a": 0.95, "b": 0.475}


def test_the_best_standing_stays() -> None:
    before = merged((), [FIRST], 1)
    query = asked("again", "gap", 0.3)
    after = merged(before, [(query, ranked("x", (A, 1.0), (C, 1.0)))], 2)
    assert scores(after) == {"a": 1.0, "b": 0.5, "c": 0.3}
    assert {c.passage_id: c.query for c in after}["a"] == "whole question"


def test_rankings_without_hits_or_with_scores_of_zero_harm_nothing() -> None:
    assert merged((), [(asked("q"), ranked("q"))], 1) == ()
    (found,) = merged((), [(asked("q"), ranked("q", (A, 0.0)))], 1)
    assert found.score == 0.0


def test_equal_scores_are_ordered_by_the_hash_of_the_id() -> None:
    hits = [(passage(f"p{i}"), 1.0) for i in range(30)]
    random.Random(1).shuffle(hits)
    found = merged((), [(asked("q"), ranked("q", *hits))], 1)
    assert [c.passage_id for c in found] == sorted((f"p{i}" for i in range(30)), key=tie_break)


def test_a_run_remembers_a_bounded_number_of_the_best() -> None:
    hits = [(passage(f"p{i}"), float(i + 1)) for i in range(pool.KEPT + 50)]
    found = merged((), [(asked("q"), ranked("q", *hits))], 1)
    assert len(found) == pool.KEPT
    assert min(c.score for c in found) == pytest.approx(51 / 150, abs=1e-6)


GAPS = st.lists(
    st.tuples(
        st.sampled_from([0.3, 0.7, 0.95]),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=5),
    ),
    min_size=1,
    max_size=3,
)


def rankings(rows: list[tuple[float, list[tuple[int, int]]]], purpose: Purpose) -> list[
    tuple[Query, Ranking]
]:  # fmt: skip
    """Passages `p0`.. titled `T0`..; a query's text is a title, so names match exactly."""
    made = []
    for number, (weight, hits) in enumerate(rows):
        best = {place: float(score) for place, score in hits}
        found = [(passage(f"p{i}", f"T{i}"), score) for i, score in best.items()]
        made.append((asked(f"T{number}", purpose, weight), ranked("x", *found)))
    return made


@given(GAPS, st.sampled_from(["gap", "bridge"]))
@settings(max_examples=60)
def test_the_order_of_queries_other_than_the_question_changes_no_standing(
    rows: list[tuple[float, list[tuple[int, int]]]], purpose: Purpose
) -> None:
    before = merged((), [FIRST], 1)
    every = itertools.permutations(rankings(rows, purpose))
    first, *others = [merged(before, order, 2) for order in every]
    for other in others:
        assert scores(other) == scores(first)
        assert [c.passage_id for c in other] == [c.passage_id for c in first]


@given(GAPS)
@settings(max_examples=60)
def test_no_merge_lowers_a_standing(rows: list[tuple[float, list[tuple[int, int]]]]) -> None:
    before = merged((), [FIRST], 1)
    after = scores(merged(before, rankings(rows, "gap"), 2))
    assert all(after[name] >= score for name, score in scores(before).items())


def test_the_question_comes_before_its_subjects() -> None:
    """A subject adds to the question's standing, so the question is merged first."""
    query = (asked("Fog", "subject", 0.5), ranked("Fog", (C, 1.0)))
    assert scores(merged((), [FIRST, query], 1))["c"] == pytest.approx(0.5)
    assert scores(merged((), [query, FIRST], 1))["c"] == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("name", "title", "worth"),
    [
        ("Heron", "heron", 1.0),
        ("Heron", "Heron (ship)", 0.95),
        ("Élise", "Elise", 1.0),
        ("Heron", "Herons", 0.0),
        ("Heron", "The Heron (ship)", 0.0),
        ("Heron (ship)", "Heron (ship)", 1.0),
    ],
)
def test_a_title_matches_but_for_brackets(name: str, title: str, worth: float) -> None:
    assert pool.title_match(name, title) == worth


def new_quote(
    start: int, end: int, *, document: str = "d", quote: str = "", **more: object
) -> Evidence:
    """A quote that has no id yet, as a refiner hands it to the pool."""
    quote = quote or f"{document} {start}..{end}"
    name = evidence_id(document, start, end)
    return evidence(0, document, quote, id=name, start=start, end=end, **more)


def test_the_best_evidence_comes_first() -> None:
    first = pool.merge_evidence((), [new_quote(0, 5, score=0.2), new_quote(5, 9, score=0.9)])
    assert [e.start for e in first] == [5, 0]
    second = pool.merge_evidence(first, [new_quote(20, 30, score=0.5)])
    assert [e.start for e in second] == [5, 20, 0]


def test_an_id_is_made_from_the_place_of_the_quote() -> None:
    places = [("a", 0, 5), ("a", 0, 6), ("a", 1, 5), ("b", 0, 5), ("a\0", 0, 5), ("\ud800", 0, 5)]
    ids = [evidence_id(*place) for place in places]
    assert len(set(ids)) == len(places)
    assert ids == [evidence_id(*place) for place in places]
    assert all(re.fullmatch("e[0-9a-f]{10}", one) for one in ids)


def test_equal_scores_stand_in_the_order_of_the_text() -> None:
    quotes = [new_quote(i * 10, i * 10 + 5) for i in range(12)]
    many = pool.merge_evidence((), reversed(quotes))
    assert [e.start for e in many] == [i * 10 for i in range(12)]


def test_what_is_there_takes_a_new_score() -> None:
    one = new_quote(0, 5, score=0.2)
    (again,) = pool.merge_evidence([one], [replace(one, score=0.7)])
    assert again.score == 0.7


NAMES = st.sampled_from("abcdef")
CANDIDATES = st.builds(
    Candidate,
    passage_id=NAMES,
    document_id=st.just("d"),
    score=st.integers(0, 4).map(lambda n: n / 4),
    own=st.integers(0, 4).map(lambda n: n / 4),
    round=st.integers(1, 3),
    query=NAMES,
)


@given(st.lists(CANDIDATES), st.lists(CANDIDATES), st.lists(CANDIDATES))
def test_the_order_in_which_branches_are_joined_changes_no_candidate(
    old: list[Candidate], one: list[Candidate], other: list[Candidate]
) -> None:
    base = pool.merge_candidates((), old)
    there = pool.merge_candidates(pool.merge_candidates(base, one), other)
    back = pool.merge_candidates(pool.merge_candidates(base, other), one)
    assert there == back
    assert all(
        max(c.score for c in (*old, *one, *other) if c.passage_id == found.passage_id)
        == found.score
        for found in there
    )


@pytest.mark.parametrize(
    ("other", "enters"),
    [
        (new_quote(10, 20), False),
        (new_quote(19, 30), True),
        (new_quote(0, 11), True),
        (new_quote(12, 15), False),
        (new_quote(20, 30), True),
        (new_quote(0, 10), True),
        (new_quote(10, 20, document="other", quote="The same  WORDS"), False),
        (new_quote(10, 20, document="other", quote="other words"), True),
    ],
)
def test_what_lies_within_or_repeats_enters_once(other: Evidence, enters: bool) -> None:
    one = new_quote(10, 20, quote="the same words")
    assert len(pool.merge_evidence(pool.merge_evidence((), [one]), [other])) == 1 + enters
    assert len(pool.merge_evidence((), [one, other])) == 1 + enters


def test_evidence_stands_with_its_passage() -> None:
    kept = pool.merge_evidence(
        (),
        [
            new_quote(0, 5, score=0.9, passage_id="low"),
            new_quote(6, 9, score=0.1, confidence=0.5, passage_id="high"),
            new_quote(10, 12, score=0.2, passage_id="forgotten"),
        ],
    )
    candidates = [
        Candidate(passage_id=name, document_id="d", score=score, own=0.0, round=1, query="q")
        for name, score in (("low", 0.15), ("high", 0.8))
    ]
    stands = pool.rescore(kept, candidates)
    # confidence * standing; one whose passage is forgotten keeps its confidence * old score
    assert [(e.start, e.score) for e in stands] == [(6, 0.4), (10, 0.2), (0, 0.15)]


@pytest.mark.parametrize(
    ("query", "alike"),
    [
        ("Ilsa Corrin", True),
        ("CORRIN, ilsa", True),
        ("Ilsa Corrin born", False),  # 2 of 3
        ("where was the master of the Heron born", True),  # 7 of 8: .875
        ("where was the owner of the Heron", False),
        ("", True),
        ("?!", True),
        ("Port Saben", False),
    ],
)
def test_nearly_the_same_words_are_not_asked_twice(query: str, alike: bool) -> None:
    before = ["Ilsa Corrin", "where was the first master of the Heron born"]
    assert too_alike(query, before) is alike


def test_the_limit_is_the_share_of_common_words() -> None:
    assert not too_alike("a b c d", ["a b c d e"])  # 4 of 5 is not above .8
    assert too_alike("a b c d", ["a b c d e"], limit=0.79)
    assert not too_alike("a", [])


def test_what_a_tree_finds_is_fused_with_what_a_search_found() -> None:
    before = merged((), [FIRST], 1)
    leaves = [(B, 0.8), (passage("d"), 0.4)]
    found = pool.fuse_tree_results(before, leaves, query="q", round_number=3, cheap=0.6).candidates
    # Each list counts from 0, its last, to 1: a .6, b .6 · 3/7 + .4; then the best is 1.
    assert [(c.passage_id, c.score) for c in found][:2] == [("b", 1.0), ("a", 0.913043)]
    assert scores(found) == {"b": 1.0, "a": 0.913043, "c": 0.0, "d": 0.0}
    assert {c.passage_id: (c.own, c.round, c.query) for c in found} == {
        "a": (1.0, 1, "whole question"), "b": (0.5, 1, "whole question"),
        "c": (0.125, 1, "whole question"), "d": (0.0, 3, "q"),
    }  # fmt: skip
    assert (
        pool.fuse_tree_results(before, [], query="q", round_number=3, cheap=0.6).candidates
        == before
    )
    alone = pool.fuse_tree_results((), leaves, query="q", round_number=3, cheap=0.6).candidates
    assert scores(alone) == {"b": 1.0, "d": 0.0}


@given(
    cheap=st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0, 2), max_size=8),
    leaves=st.dictionaries(st.sampled_from("efghijkl"), st.floats(0, 1), max_size=8),
    weight=st.floats(0, 1),
)
def test_a_fusion_has_every_passage_once_best_first(
    cheap: dict[str, float], leaves: dict[str, float], weight: float
) -> None:
    ordered = sorted(cheap.items(), key=lambda one: -one[1])
    before = merged((), [(asked("q"), ranked("q", *((passage(n), s) for n, s in ordered)))], 1)
    found = pool.fuse_tree_results(
        before,
        [(passage(n), s) for n, s in sorted(leaves.items(), key=lambda one: -one[1])],
        query="q", round_number=2, cheap=weight,
    ).candidates  # fmt: skip
    assert sorted(c.passage_id for c in found) == sorted({*cheap, *leaves})
    if leaves:
        order = [(-c.score, tie_break(c.passage_id)) for c in found]
        assert order == sorted(order)
        assert all(0 <= c.score <= 1 for c in found)
