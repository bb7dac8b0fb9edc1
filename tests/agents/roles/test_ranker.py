"""The ranker: whatever a model replies, the order is a permutation; the windows; the votes."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import QUESTION, reading, said
from support.client import Scene

from hoptrail.agents import Budget, RunSettings, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.scripted import Line, ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatRequest
from hoptrail.agents.nodes.refining import _capped
from hoptrail.agents.roles.base import Ranked
from hoptrail.agents.roles.reading.ranker import (
    LocalRanker,
    UtilityRanker,
    WindowRanker,
    shuffled,
    windows,
)
from hoptrail.agents.runs.request import RankBy
from hoptrail.agents.types import Candidate
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Passage

WORD = "f" * 16


def passages(names: Sequence[str]) -> list[Passage]:
    return [
        Passage(id=f"p {n}", document_id=n, start=0, end=len(n), title=n, text=f"of {n}.")
        for n in names
    ]


def ranked(
    endpoint: ScriptedEndpoint, names: Sequence[str], by: RankBy, budget: Budget | None = None,
    **options: int,
) -> tuple[Ranked, Scene]:  # fmt: skip
    scene = Scene(endpoint, budget)

    async def main() -> Ranked:
        await scene.asker.prepare()
        fence = Delimiters(word=WORD)
        ranker: WindowRanker | UtilityRanker = (
            WindowRanker(scene.asker, fence, 20, options["window"], options["stride"])
            if by == "windows"
            else UtilityRanker(scene.asker, fence, options["window"], options["samples"])
        )
        return await ranker.rank("Who?", passages(names))

    return asyncio.run(main()), scene


def said_of(names: Sequence[str]) -> Callable[[ChatRequest], str]:
    """A model that finds these passages useful, wherever they stand."""

    def reply(request: ChatRequest) -> str:
        shown = re.findall(r"^\[(\d+)\] (\w+):", said(request), re.MULTILINE)
        return json.dumps({"answer": "x", "useful": [int(n) for n, name in shown if name in names]})

    return reply


def orders(*replies: object) -> ScriptedEndpoint:
    lines = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
    return ScriptedEndpoint(by_schema={"OrderForm": lines})


def test_a_good_passage_climbs_from_window_to_window() -> None:
    """C D E → E C D, then A B E → E A B: worked out by hand from the two replies."""
    endpoint = orders({"order": [3, 1, 2]}, {"order": [3, 1, 2]})
    found, scene = ranked(endpoint, "ABCDE", "windows", window=3, stride=2)
    assert found.order == (4, 0, 1, 2, 3)
    assert (found.ranked, len(found.uses), scene.ledger.spent().calls) == (5, 2, 2)
    first, second = (re.findall(r"^\[\d\] (\w)", said(r), re.MULTILINE) for r in endpoint.requests)
    assert (first, second) == (["C", "D", "E"], ["A", "B", "E"])


@given(st.integers(0, 60), st.integers(1, 20), st.data())
def test_windows_cover_every_place_in_as_many_calls_as_the_formula_says(
    count: int, size: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, size))
    spans = list(windows(count, size, stride))
    if count < 2:
        assert spans == []
        return
    assert len(spans) == 1 + math.ceil(max(0, count - size) / stride)
    assert (spans[0][1], spans[-1][0]) == (count, 0)
    assert all(end - start <= size for start, end in spans)
    assert {place for start, end in spans for place in range(start, end)} == set(range(count))
    assert all(later[1] >= earlier[0] for earlier, later in pairwise(spans))


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ({"order": [2, 2, 2]}, (1, 0, 2)),
        ({"order": [0, 9, 3]}, (2, 0, 1)),
        ({"order": []}, (0, 1, 2)),
        ({"order": 3}, (2, 0, 1)),
        ("I would say: ```{'order': [3, 2]}```", (2, 1, 0)),
        ({"order": ["3", "1"]}, (2, 0, 1)),
    ],
)
def test_odd_orders_are_read_as_far_as_they_go(reply: object, order: tuple[int, ...]) -> None:
    found, _ = ranked(orders(reply), "ABC", "windows", window=3, stride=1)
    assert (found.order, found.ranked) == (order, 3)


@pytest.mark.parametrize("by", ["windows", "utility"])
@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 9),
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.lists(st.integers(-3, 120), max_size=30).map(
                lambda found: json.dumps({"order": found, "useful": found, "answer": ""})
            ),
        ),
        min_size=1,
    ),
)
def test_no_passage_is_lost_or_invented_whatever_is_replied(
    by: RankBy, count: int, replies: list[str]
) -> None:
    turn = iter(range(1_000))

    def next_reply(_: ChatRequest) -> Line:
        return replies[next(turn) % len(replies)]

    names = [f"n{number}" for number in range(count)]
    found, scene = ranked(ScriptedEndpoint(next_reply), names, by, window=4, stride=3, samples=3)
    assert sorted(found.order) == list(range(count))
    assert scene.ledger.spent().calls == sum(use.attempts for use in found.uses)


def test_an_unusable_window_keeps_its_order_and_the_others_go_on() -> None:
    endpoint = orders("nothing", "still nothing", {"order": [2, 1]})
    found, scene = ranked(endpoint, "ABC", "windows", window=2, stride=1)
    assert (found.order, found.ranked) == ((1, 0, 2), 3)
    assert [use.failure for use in found.uses] == ["parse", ""]
    assert scene.ledger.spent().calls == 3


@pytest.mark.parametrize("by", ["windows", "utility"])
def test_without_one_usable_reply_the_order_is_the_one_given(by: RankBy) -> None:
    found, _ = ranked(ScriptedEndpoint(lambda _: "no"), "ABC", by, window=3, stride=1, samples=2)
    assert (found.order, found.ranked, found.votes) == ((0, 1, 2), 0, ())
    assert {use.failure for use in found.uses} == {"parse"}


def test_passages_with_more_votes_come_first_and_equal_ones_as_given() -> None:
    """B has 3 votes, D 2, A 1, C none; the reply that cannot be used counts for none."""
    lines = [said_of("BD"), said_of("AB"), "?", "?", said_of("BD")]
    endpoint = ScriptedEndpoint(by_schema={"UsefulForm": lines})
    # One after the other, so that each sample has the line meant for it.
    found, scene = ranked(endpoint, "ABCDE", "utility", window=4, samples=4)
    assert sorted(found.votes, reverse=True)[:2] == [3.0, 2.0]
    assert found.order == (1, 3, 0, 2, 4)
    assert (found.votes, found.ranked) == ((1.0, 3.0, 0.0, 2.0, 0.0), 4)
    assert scene.ledger.spent().calls == 5


def test_the_samples_show_other_orders_and_always_the_same_ones() -> None:
    assert shuffled(6, 3, "q") == shuffled(6, 3, "q") != shuffled(6, 3, "r")
    first, *others = shuffled(6, 4, "q")
    assert first == list(range(6))
    assert all(sorted(order) == first != order for order in others)


def test_a_lost_server_is_asked_no_further() -> None:
    endpoint = ScriptedEndpoint(lambda _: AttemptFailed("unauthorised", "no"))
    found, _ = ranked(endpoint, "ABCDE", "windows", window=2, stride=1)
    assert (found.order, found.stop, len(endpoint.requests)) == (
        (0, 1, 2, 3, 4), "model_unavailable", 1,
    )  # fmt: skip


@pytest.mark.parametrize("by", ["windows", "utility"])
def test_calls_are_left_for_the_answer(by: RankBy) -> None:
    """A quarter of the budget's calls; that the rest is used up does not end the run."""
    endpoint = ScriptedEndpoint(lambda _: json.dumps({"order": [2, 1], "answer": "", "useful": []}))
    found, scene = ranked(endpoint, "ABCDEFGH", by, Budget(calls=4), window=2, stride=1, samples=7)
    assert (scene.ledger.left().calls, found.stop) == (1, None)
    assert sorted(found.order) == list(range(8))


def test_the_local_ranker_keeps_the_order() -> None:
    found = asyncio.run(LocalRanker().rank("q", passages("CAB")))
    assert (found.order, found.ranked, found.uses) == ((0, 1, 2), 0, ())


def backwards(request: ChatRequest) -> str:
    shown = re.findall(r"^\[(\d+)\]", said(request), re.MULTILINE)
    return json.dumps({"order": [int(number) for number in reversed(shown)]})


def test_a_run_reads_in_the_models_order_and_says_why(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    endpoint = reading(by_schema={"OrderForm": backwards})
    recording = tmp_path / "run.jsonl"
    receipt = ask(
        QUESTION, library, model=endpoint, strategy="single", record=recording,
        settings=RunSettings(rank_by="windows", rank_window=20, read=2),
    )  # fmt: skip
    count = len(receipt.candidates)
    assert [(one.rank, one.model_rank) for one in receipt.read] == [(count, 1), (count - 1, 2)]
    assert {one.votes for one in receipt.read} == {None}
    (step,) = [step for step in receipt.steps if step.action == "ranked"]
    assert step.use is not None
    assert (step.use.role, step.found[0]) == ("rank", receipt.candidates[-1].passage_id)
    assert replay(recording).same


def test_a_run_reads_what_has_most_votes_first(library: KnowledgeBase, tmp_path: Path) -> None:
    def veil(request: ChatRequest) -> str:
        shown = re.findall(r"^\[(\d+)\] Veil", said(request), re.MULTILINE)
        return json.dumps({"answer": "", "useful": list(map(int, shown))})

    recording = tmp_path / "run.jsonl"
    receipt = ask(
        QUESTION, library, model=reading(by_schema={"UsefulForm": veil}), strategy="single",
        record=recording, settings=RunSettings(rank_by="utility", rank_samples=3),
    )  # fmt: skip
    first, second = receipt.read[:2]
    assert (first.votes, first.model_rank, second.votes, second.rank) == (3.0, 1, 0.0, 1)
    assert [step.use.role for step in receipt.steps if step.use and step.action == "ranked"] == [
        "judge_utility"
    ] * 3
    assert replay(recording).same


def test_without_a_model_each_passage_read_says_its_rank_and_what_found_it(
    library: KnowledgeBase,
) -> None:
    receipt = ask(QUESTION, library, settings=RunSettings(rank_by="utility"))
    candidates = {one.passage_id: one for one in receipt.candidates}
    assert [one.rank for one in receipt.read if one.round == 1] == [1, 2, 3, 4, 5]
    for one in receipt.read:
        assert (one.model_rank, one.votes) == (0, None)
        assert one.query in {step.detail for step in receipt.steps if step.node == "retrieve"}
        assert 0 < one.score <= candidates[one.passage_id].score


def test_no_more_passages_of_a_document_are_read_than_may_be() -> None:
    found = [
        Candidate(passage_id=p, document_id=p[0], score=1, own=1, round=1, query="q")
        for p in ("a1", "a2", "b1", "a3", "b2", "c1")
    ]
    assert [one.passage_id for one in _capped(found, 1)] == ["a1", "b1", "c1"]
    assert [one.passage_id for one in _capped(found, 2)] == ["a1", "a2", "b1", "b2", "c1"]
    assert list(_capped(found, None)) == found


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank_by": "votes"}, "Unknown rank_by 'votes': use one of search, windows, utility"),
        ({"per_document": 0}, "per_document=0 must be a whole number of at least 1"),
        ({"rank_samples": 0}, "rank_samples=0 must be"),
        ({"rank_window": 21}, "rank_window=21 must be at most 20"),
        ({"rank_window": 4, "rank_stride": 5}, "rank_stride=5 must be at most 4"),
    ],
)
def test_wrong_settings_of_the_ranker_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RunSettings(**wrong)  # type: ignore[arg-type]
