"""Plans of steps: the rules that take questions apart, the checks, and replies that fail them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import QUESTION, reading

from hoptrail.agents import KnowledgeBase, ask
from hoptrail.agents.roles.searching.decomposition import compared, decompose
from hoptrail.agents.roles.searching.step_graph import (
    MOST_STEPS,
    filled,
    in_order,
    linked,
    numbered_from,
    problem_of,
    reference,
    references,
)
from hoptrail.agents.roles.searching.step_planner import SOURCES, sources_of, whole_question
from hoptrail.agents.types import Step


def questions_of(question: str) -> list[str]:
    return [step.question for step in decompose(question)]


def test_a_comparison_looks_both_sides_up_and_then_compares() -> None:
    steps = decompose("Who is older, Daniel Darc or Thomas Worthington (Governor)?")
    assert [step.query for step in steps[:2]] == [
        "Daniel Darc born",
        "Thomas Worthington (Governor) born",
    ]
    assert (steps[2].source, steps[2].depends_on) == ("none", ("s1", "s2"))


def test_a_comparison_by_a_relation_takes_two_steps_a_side() -> None:
    steps = decompose("Which film has the director who was born later, Stage Kisses or Tin Moon?")
    assert [step.depends_on for step in steps] == [(), ("s1",), (), ("s3",), ("s2", "s4")]
    assert steps[0].question == "Who or what is the director of Stage Kisses?"
    assert steps[3].query == "{{s3.answer}} born"


@pytest.mark.parametrize(
    ("question", "sides"),
    [
        ("Are both Bavegem and Orrin Dale located in the same country?", ("Bavegem", "Orrin Dale")),
        ("Which band was formed first The Exies or Circus Diablo ?", ("Exies", "Circus Diablo")),
        ("Between Iain Banks and Irwin Shaw, who wrote more?", ("Iain Banks", "Irwin Shaw")),
        ("Which film came out first, Broken Threads or Raketa mena?",
         ("Broken Threads", "Raketa mena")),
        ("Who founded the Institute of Arts and Letters?", None),
        ("Where was Ilsa Corrin born?", None),
    ],
)  # fmt: skip
def test_what_is_compared(question: str, sides: tuple[str, str] | None) -> None:
    assert compared(question) == sides


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ("Where did Ilsa Corrin's husband die?",
         ["Who or what is Ilsa Corrin's husband?", "Where did {{s1.answer}} die?"]),
        ("What nationality is the director of film On Top Of The World (Film)?",
         ["Who or what is the director of film On Top Of The World (Film)?",
          "What nationality is {{s1.answer}}?"]),
        ("When was the clock built in the city where Karel Purkyně died?",
         ["Who or what is the city where Karel Purkyně died?",
          "When was the clock built in {{s1.answer}}?"]),
        ("When did the country of Izgoy's performer invade Manchuria?",
         ["Who or what is Izgoy's performer?", "Who or what is the country of {{s1.answer}}?",
          "When did {{s2.answer}} invade Manchuria?"]),
        (QUESTION,
         ["Who or what is the first master of the Heron?", "Where was {{s1.answer}} born?"]),
    ],
)  # fmt: skip
def test_a_chain_begins_with_the_innermost_description(question: str, steps: list[str]) -> None:
    assert questions_of(question) == steps


def test_two_constraints_on_one_thing_are_steps_side_by_side() -> None:
    steps = decompose("What country is a member of NATO and home to V Bird?")
    assert [step.depends_on for step in steps] == [(), (), ("s1", "s2")]
    assert steps[1].question == "Which country home to V Bird?"


def test_what_no_rule_takes_apart_is_one_step() -> None:
    for question in ("Who is Ilsa Corrin?", "Who is the director of Heat?", "why", "?", "{{s1}}"):
        (step,) = decompose(question)
        assert (step.id, step.question) == ("s1", question)


WORDS = st.sampled_from([
    "the", "of", "who", "that", "is", "A", "B's", "Heron", "or", "and", ",", "?", "film", "born",
    "first", "both", "(x)", "director", "Are", "Which",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80) | st.lists(WORDS, max_size=20).map(" ".join))
def test_the_rules_make_a_plan_that_passes_its_checks(question: str) -> None:
    steps = decompose(question)
    if question.strip() and "{" not in question:
        assert problem_of(steps, SOURCES) == ""
    assert 1 <= len(steps) <= MOST_STEPS


def step(number: int, *needs: int, **changes: Any) -> Step:  # noqa: ANN401
    return Step(**{"id": f"s{number}", "question": f"What of {number}?",
                   "depends_on": tuple(f"s{one}" for one in needs), **changes})  # fmt: skip


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([], "no step"),
        ([step(n) for n in range(1, 101)], "100 steps, at most 8"),
        ([step(1), step(1)], "the same id"),
        ([step(1, question=" ")], "s1: its question is empty"),
        ([step(1, source="web")], "s1: its source is none of hybrid"),
        ([step(1, 1)], "s1: it refers to itself"),
        ([step(1, query="{{s1.answer}}")], "s1: it refers to itself"),
        ([step(1, 9)], "refers to s9, which is no step"),
        ([step(1), step(2, query="{{s1.answer}}")], "does not depend on all"),
        ([step(1, source="none")], "neither searches nor refers"),
        ([step(1, 2), step(2, 1)], "in a circle"),
        ([step(1, 3), step(2, 1), step(3, 2), step(4)], "in a circle"),
        ([step(1), step(2, 1), step(3, 1, 2, source="none")], ""),
    ],
)
def test_what_is_wrong_with_a_plan_is_said(steps: list[Step], problem: str) -> None:
    found = problem_of(steps, SOURCES)
    assert problem in found
    assert bool(found) == bool(problem)


def test_references_are_read_as_models_write_them() -> None:
    text = "of {{s1.answer}} and {s2} and {{ S3 }} and {{s1.top1}} but not #4 or {{x}}"
    assert references(text) == ("s1", "s2", "s3")
    answers = {"s1": "A", "s2": "B"}
    assert filled(text, answers) == "of A and B and and A but not #4 or {{x}}"
    assert filled(reference("s1"), {"s1": "{{s2.answer}}", "s2": "B"}) == "{{s2.answer}}"


def test_steps_are_put_in_order_and_renumbered() -> None:
    made = linked([("Of {{s2.answer}}?", "hybrid", ""), ("Who?", "hybrid", "")])
    assert [one.id for one in in_order(made)] == ["s2", "s1"]
    later = numbered_from(in_order(made), 4)
    assert [(one.id, one.question, one.depends_on) for one in later] == [
        ("s4", "Who?", ()),
        ("s5", "Of {{s4.answer}}?", ("s4",)),
    ]


def test_a_planner_is_told_of_the_sources_that_there_are() -> None:
    assert [one.name for one in sources_of("hybrid", tree=False)] == ["hybrid", "lexical", "none"]
    every = sources_of("graph", tree=True)
    assert [one.name for one in every] == list(SOURCES)
    (only,) = whole_question("Who?", every)
    assert only.source == "graph"


def plan(*steps: tuple[str, str, str]) -> str:
    made = [{"question": q, "source": s, "query": w} for q, s, w in steps]
    return json.dumps({"reasoning": "r", "steps": made})


HOSTILE = {
    "a circle": plan(("A {{s2.answer}}?", "hybrid", ""), ("B {{s1.answer}}?", "hybrid", "")),
    "itself": plan(("A {{s1.answer}}?", "hybrid", "a")),
    "an unknown source": plan(("A?", "internet", "a")),
    "a source that this store lacks": plan(("A?", "tree", "a")),
    "a reference to nothing": plan(("A {{s7.answer}}?", "hybrid", "a")),
    "no search and no reference": plan(("A?", "none", "")),
    "nothing": plan(),
    "empty questions": plan((" ", "hybrid", " ")),
    "no object": "I would rather not.",
    "steps that are no list": '{"reasoning": "", "steps": "s1"}',
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE)
def test_a_plan_that_cannot_be_run_is_asked_for_once_more_and_falls_back(
    library: KnowledgeBase, reply: str
) -> None:
    brief = json.dumps({"answer": "Tarn Hollow"})
    endpoint = reading(by_schema={"StepsForm": lambda _: reply, "BriefForm": lambda _: brief})
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    (use,) = [s.use for s in receipt.steps if s.node == "plan_steps" and s.use is not None][:1]
    assert (use.re_asks, use.failure) == (1, "parse")
    assert receipt.plan is not None
    assert receipt.plan.steps[0].question == questions_of(QUESTION)[0]


def test_a_hundred_steps_are_cut_to_what_is_allowed(library: KnowledgeBase) -> None:
    reply = plan(*((f"Question {n}?", "lexical", f"Heron {n}") for n in range(100)))
    brief = json.dumps({"answer": "Tarn Hollow"})
    endpoint = reading(by_schema={"StepsForm": lambda _: reply, "BriefForm": lambda _: brief})
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    assert receipt.plan is not None
    assert len(receipt.plan.steps) <= 2 * MOST_STEPS
    assert receipt.usage.searches <= 2 * MOST_STEPS + 1


def test_a_second_reply_that_passes_is_used(library: KnowledgeBase) -> None:
    good = plan(("Who was the first master of the Heron?", "hybrid", "Heron first master"))
    lines = [HOSTILE["a circle"], good]
    endpoint = reading(by_schema={"StepsForm": lines})
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    (use,) = [s.use for s in receipt.steps if s.node == "plan_steps" and s.use is not None]
    assert (use.re_asks, use.failure) == (1, "")
    asked = [r for r in endpoint.requests if r.schema_name == "StepsForm"][-1]
    assert "in a circle" in asked.messages[-1].content
