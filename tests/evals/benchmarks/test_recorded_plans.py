"""Recorded decompositions as the planner's steps: how they are read, and the benchmark's table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.agents.roles.searching.step_graph import MOST_STEPS, problem_of
from hoptrail.agents.roles.searching.step_planner import SOURCES
from hoptrail.evals.benchmarks.plan.recorded import Part, Recorded, main, steps_of

SMALL = Path(__file__).parents[3] / "examples" / "world"


def record(question: str, parts: dict[str, list[str]]) -> Recorded:
    divided = {key: Part(sub_questions=one) for key, one in parts.items()}
    return Recorded(question=question, decomposition=divided)


def test_references_become_dependencies() -> None:
    parts = {"Where was X's maker born?": ["Who made X?", "Where was #1 born?"]}
    steps = steps_of(record("Where was X's maker born?", parts), "graph")
    assert [(one.question, one.depends_on, one.source) for one in steps] == [
        ("Who made X?", (), "graph"),
        ("Where was {{s1.answer}} born?", ("s1",), "graph"),
    ]


def test_a_part_that_was_divided_is_replaced_by_its_parts() -> None:
    parts = {"Q?": ["A?", "B of #1?", "C of #2?"], "B of #1?": ["D?", "E of #1?"]}
    steps = steps_of(record("Q?", parts), "hybrid")
    assert [one.question for one in steps] == [
        "A?", "D?", "E of {{s2.answer}}?", "C of {{s3.answer}}?",
    ]  # fmt: skip
    assert [one.depends_on for one in steps] == [(), (), ("s2",), ("s3",)]


@pytest.mark.parametrize(
    ("parts", "questions"),
    [
        ([], ["Q?"]),
        (["A?"], ["Q?"]),  # one part divides nothing
        (["Q?", "B of #1?"], ["Q?", "B of {{s1.answer}}?"]),  # the question among its own parts
        (["A?", "B of #7?"], ["A?", "B of #7?"]),  # a reference to nothing stays as it is
    ],
)
def test_odd_decompositions(parts: list[str], questions: list[str]) -> None:
    assert [one.question for one in steps_of(record("Q?", {"Q?": parts}), "hybrid")] == questions


def test_more_steps_than_a_plan_may_have_are_none() -> None:
    parts = [f"Q{number}?" for number in range(MOST_STEPS + 1)]
    assert steps_of(record("Q?", {"Q?": parts}), "hybrid") == ()


QUESTIONS = st.sampled_from(["Q?", "A?", "#1?", "B #2?", ""])


@given(st.dictionaries(QUESTIONS, st.lists(QUESTIONS, max_size=4)))
def test_whatever_was_recorded_the_steps_can_be_run_or_there_are_none(
    parts: dict[str, list[str]],
) -> None:
    steps = steps_of(record("Q?", parts), "hybrid")
    assert not steps or problem_of(steps, SOURCES) == ""


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    questions = [json.loads(line) for line in (SMALL / "questions.jsonl").open()][:2]
    file = tmp_path / "recorded.jsonl.gz"
    with gzip.open(file, "wt") as lines:
        for one in questions:
            given = record(one["question"], {one["question"]: [one["question"], "#1?"]})
            lines.write(given.model_dump_json() + "\n")
    code = main([str(file), str(SMALL), "--store-cache", str(tmp_path), "--embedder", "hash-384"])
    out = capsys.readouterr().out.splitlines()
    assert code == 0
    assert out[0].startswith("2 of 2 recorded decompositions can be run")
    assert [line.split()[:2] for line in out[2:]] == [["world", "2"], ["all", "2"]]


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "recorded.jsonl.gz"
    with gzip.open(file, "wt") as lines:
        lines.write("[1]\n")
    assert main([str(file), str(SMALL), "--store-cache", str(tmp_path)]) == 2
