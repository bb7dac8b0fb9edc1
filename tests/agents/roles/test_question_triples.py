"""Triples of a question, values of their variables, contradictions, and queries for the gaps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, evidence

from hoptrail.agents.roles.common import filled, too_alike, variables
from hoptrail.agents.roles.searching.binding_rules import found_by_rules
from hoptrail.agents.roles.searching.bindings import (
    FOLLOWED,
    contradictions,
    facts,
    gap_queries,
    merge_bindings,
    open_triples,
    supported_by,
    values_of,
)
from hoptrail.agents.roles.searching.question_triples import (
    subject_of,
    triples_of,
    triples_of_needs,
)
from hoptrail.agents.types import Binding, Evidence, TriplePattern

QUESTION = "Where was the first master of the Heron born?"
SHIP = evidence(1, *CHAIN["d1"], score=0.8)
MASTER = evidence(2, *CHAIN["d2"], score=0.5)


def triple(subject: str, relation: str, found: str) -> TriplePattern:
    return TriplePattern(subject=subject, relation=relation, object=found)


def bound(name: str, value: str, *ids: str, round_number: int = 1) -> Binding:
    return Binding(variable=name, value=value, evidence=ids or ("e1",), round=round_number)


CHAINED = (triple("Heron", "first master", "?x1"), triple("?x1", "born", "?ans"))


# triples by rules


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        (QUESTION, [("Heron", "first master", "?x1"), ("?x1", "born", "?ans")]),
        (
            "When did the founder of the Veil Institute die?",
            [("Veil Institute", "founder", "?x1"), ("?x1", "die", "?ans")],
        ),
        (
            "What is the date of birth of the director of film Heat (1995 Film)?",
            [("Heat (1995 Film)", "director", "?x1"), ("?x1", "date birth", "?ans")],
        ),
        (
            "Which film has the director born later, Heat or Alien?",
            [
                ("Heat", "director", "?x1"), ("?x1", "born", "?x2"),
                ("Alien", "director", "?x3"), ("?x3", "born", "?x4"),
            ],
        ),
        (
            "Which ship was built at Maddock Yard and was sailed by Ilsa Corrin?",
            [("Maddock Yard", "ship built", "?ans"), ("Ilsa Corrin", "ship sailed", "?ans")],
        ),
        ("When was the Heron launched?", [("Heron", "launched", "?ans")]),
        ("who came?", []),
        ("Who is ?x1 of {s7}, the father of Heat?", []),
        ("", []),
    ],
)  # fmt: skip
def test_the_triples_of_a_question_by_rules(
    question: str, wanted: list[tuple[str, str, str]]
) -> None:
    assert triples_of(question) == tuple(triple(*one) for one in wanted)


@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(
    ["Who", "the director of", "Heat", "film", "is", "or", "Alien", ",", "'s", "mother", "who",
     "was born", "and", "{{s1.answer}}", "?x1", "?"]), max_size=12).map(" ".join)))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_triple_comes_after_those_whose_variables_it_needs(question: str) -> None:
    known: set[str] = set()
    for one in triples_of(question):
        assert one.relation.strip()
        assert one.subject.strip()
        assert variables(one.object) == (one.object,)
        assert set(variables(one.subject)) <= known
        known.add(one.object)


# triples of a model's needs


@pytest.mark.parametrize(
    ("needs", "asks", "wanted"),
    [
        (
            [("Who was the first master of the Heron?", "Heron"), ("Where was ?x1 born?", "?x1")],
            "place",
            list(CHAINED),
        ),
        (  # the last need of a choice compares what the others find
            [("When was Renn born?", "Renn"), ("When was Corrin born?", "Corrin"),
             ("Which is older?", "")],
            "choice",
            [triple("Renn", "born", "?x1"), triple("Corrin", "born", "?x2")],
        ),
        ([("Who built it?", "Heron"), ("where was that person born", "")], "place", []),
        ([("Who was ?x1?", "?x1")], "person", []),  # a circle
        ([("Who wed ?x2?", "?x2"), ("Who wed ?x1?", "?x1")], "person", []),
        ([("Who built the Heron?", "Heron"), ("Where was ?x9 born?", "?x9")], "place", []),
        ([("Was Corrin a navigator?", "Corrin")], "yes_no", []),  # in no document
        ([("Heron?", "Heron")], "thing", []),  # says nothing of it
        ([("", ""), ("", "")], "thing", []),
        ([("", "")], "choice", []),
        ([], "thing", []),
    ],
)  # fmt: skip
def test_the_triples_of_needs_or_none_where_one_says_not_what_it_is_about(
    needs: list[tuple[str, str]], asks: str, wanted: list[TriplePattern]
) -> None:
    assert list(triples_of_needs(needs, asks)) == wanted


def test_a_subject_is_a_name_of_the_question_a_variable_or_nothing() -> None:
    said = [subject_of(text, QUESTION) for text in (" HERON ", "?X1", "the ?x2 of", "Renn", "")]
    assert said == ["HERON", "?x1", "?x2", "", ""]


def test_a_variable_without_a_value_stays_or_leaves_nothing() -> None:
    assert filled("Where was ?x1 born?", {"?x1": "Ilsa Corrin"}) == "Where was Ilsa Corrin born?"
    assert filled("Where was ?x1 born?", {}) == "Where was born?"
    assert filled("Where was ?X1 born?", {}, keep=True) == "Where was ?X1 born?"
    assert filled("?x1 ?x12", {"?x1": "a"}, keep=True) == "a ?x12"
    assert facts(CHAINED, {}, keep=True) == ("Heron first master", "?x1 born")


# values by rules


def found(pool: Sequence[Evidence], asks: str = "place", *known: Binding) -> object:
    return found_by_rules(CHAINED, known, pool, question=QUESTION, asks=asks)


def test_a_value_is_the_name_that_follows_the_relation() -> None:
    assert found([SHIP]) == (("?x1", "Ilsa Corrin"),)
    # The value just found is the subject of what follows.
    assert found([SHIP, MASTER]) == (("?x1", "Ilsa Corrin"), ("?ans", "Tarn Hollow"))
    assert found([MASTER], "place", bound("?x1", "Ilsa Corrin")) == (("?ans", "Tarn Hollow"),)
    assert found([MASTER]) == ()  # of whom it speaks is not known
    assert found([]) == ()


def test_a_date_is_found_as_such() -> None:
    assert found([SHIP, MASTER], "date")[1] == ("?ans", "12 March 1851")  # type: ignore[index]


def test_each_quote_has_its_own_value_and_a_name_of_the_question_is_none() -> None:
    other = evidence(3, "Heron", "The first master of the Heron was Otto Renn.")
    again = evidence(4, "Heron", "The first master of the Heron was Heron.")
    assert found([SHIP, other, again]) == (("?x1", "Ilsa Corrin"), ("?x1", "Otto Renn"))


# bindings

BINDINGS = st.builds(
    Binding,
    variable=st.sampled_from(["?x1", "?x2", "?ans"]),
    value=st.sampled_from(["Ilsa Corrin", "ilsa corrin", "Corrin", "Otto Renn", "the Heron", "—"]),
    evidence=st.lists(st.sampled_from(["e1", "e2", "e3"]), min_size=1, unique=True).map(tuple),
    round=st.integers(1, 4),
)
SETS = st.lists(BINDINGS, max_size=5)


@given(SETS, SETS, SETS)
@settings(max_examples=150, deadline=None)
def test_merging_bindings_depends_on_no_order(
    one: list[Binding], two: list[Binding], three: list[Binding]
) -> None:
    together = merge_bindings(merge_bindings((), one), merge_bindings(two, three))
    assert merge_bindings(merge_bindings(three, two), one) == together
    assert merge_bindings(two, merge_bindings(one, three)) == together
    assert merge_bindings(together, together) == together
    ids = {e for binding in (*one, *two, *three) for e in binding.evidence}
    assert {e for binding in together for e in binding.evidence} == ids  # nothing is dropped


def test_one_value_has_the_support_of_both_and_the_earlier_round() -> None:
    late = bound("?x1", "ilsa corrin", "e3", "e1", round_number=3)
    merged = merge_bindings([late], [bound("?x1", "Ilsa Corrin", "e2"), bound("?x2", "Renn")])
    assert merged == (
        bound("?x1", "Ilsa Corrin", "e1", "e2", "e3"), bound("?x2", "Renn"),
    )  # fmt: skip


def test_the_best_supported_value_comes_first() -> None:
    some = [bound("?x1", "Renn", "e2"), bound("?x1", "Corrin", "e1", "e2"),
            bound("?x1", "Maddock", "e1")]  # fmt: skip
    assert values_of(some, [SHIP, MASTER]) == {"?x1": ["Corrin", "Maddock", "Renn"]}


def test_two_names_contradict_each_other_and_a_part_of_one_does_not() -> None:
    whole, part = bound("?x1", "Ilsa Corrin", "e1"), bound("?x1", "Corrin", "e2")
    other = bound("?x1", "Otto Renn", "e2")
    assert contradictions([whole, part], [SHIP, MASTER]) == ()
    assert contradictions([bound("?x1", "Renn"), bound("?x2", "Corrin")], [SHIP]) == ()
    (one,) = contradictions([part, other, whole], [SHIP, MASTER])
    assert (one.variable, one.bindings) == ("?x1", (whole, other))


@given(SETS, st.sets(st.sampled_from(["e1", "e2", "e3"])))
@settings(max_examples=60, deadline=None)
def test_support_is_only_of_the_evidence_there_is(some: list[Binding], ids: set[str]) -> None:
    for one in supported_by(some, ids):
        assert one.evidence
        assert set(one.evidence) <= ids


# gaps


def test_what_is_open_is_asked_with_the_value_in_the_place_of_the_variable() -> None:
    corrin = bound("?x1", "Ilsa Corrin")
    assert open_triples(CHAINED, ()) == CHAINED
    assert open_triples(CHAINED, [corrin]) == CHAINED[1:]
    assert gap_queries(CHAINED, [corrin], [SHIP]) == ("Ilsa Corrin born",)
    assert gap_queries(CHAINED, (), [SHIP]) == ()  # its subject has no value
    assert gap_queries(CHAINED, [corrin, bound("?ans", "Tarn Hollow", "e2")], [SHIP]) == ()
    circle = (triple("?x1", "wed", "?x2"), triple("?x2", "wed", "?x1"))
    assert gap_queries(circle, (), [SHIP]) == ()


def test_of_contradicting_values_the_best_are_followed() -> None:
    some = [bound("?x1", name, "e1") for name in ("Ilsa Corrin", "Otto Renn", "Brann Maddock")]
    found = gap_queries(CHAINED, some, [SHIP])
    assert found == ("Brann Maddock born", "Ilsa Corrin born")
    assert len(found) == FOLLOWED
    assert not too_alike(found[1], found[:1])
