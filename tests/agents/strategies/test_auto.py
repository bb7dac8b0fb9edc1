"""`auto`: the route by signals, its reasons in the receipt, the ways on from a short one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.agents import QUESTION, UNKNOWN, Reader, make_chain, open_chain, reading, said

from hoptrail.agents import STRATEGIES, Budget, KnowledgeBase, Receipt, RunSettings, ask, replay
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.roles.searching.router import (
    COVERED,
    Route,
    Signals,
    asks_no_document,
    route_of,
    signals_of,
)
from hoptrail.agents.strategies.graph import compiled_graph
from hoptrail.rag.types import Passage

PLAIN = "How many inhabitants had Tarn Hollow in 1900?"
"""One document has it all."""


class Direct(Reader):
    """A reader that answers the plain question."""

    enough = "1,204 inhabitants"

    def answer(self, request: ChatRequest) -> object:
        return {**_cited(request, self.enough, "Tarn Hollow had 1,204 inhabitants in 1900."),
                "answer": "1,204"}  # fmt: skip


def _cited(request: ChatRequest, words: str, claim: str) -> dict[str, Any]:
    lines = [line for line in said(request).splitlines() if line.startswith("[") and words in line]
    numbers = [int(line[1 : line.index("]")]) for line in lines]
    return {"claims": [{"text": claim, "evidence": numbers or [1]}]}


def routes(receipt: Receipt) -> list[str]:
    return [step.action for step in receipt.steps if step.node == "route"]


def calls(endpoint: Any) -> list[str]:  # noqa: ANN401
    return [request.schema_name for request in endpoint.requests]


def test_its_graph() -> None:
    drawn = compiled_graph(STRATEGIES["auto"]).get_graph()
    assert {(e.source.strip("_"), e.target.strip("_")) for e in drawn.edges} == {
        ("start", "route"), ("route", "retrieve"), ("route", "plan"), ("route", "answer"),
        ("retrieve", "refine"), ("refine", "route"), ("refine", "assess"), ("refine", "answer"),
        ("plan", "retrieve"), ("plan", "assess"), ("plan", "next_query"), ("plan", "answer"),
        ("assess", "next_query"), ("assess", "navigate"), ("assess", "answer"),
        ("next_query", "retrieve"), ("next_query", "navigate"), ("next_query", "answer"),
        ("navigate", "refine"), ("answer", "verify"), ("verify", "route"), ("verify", "receipt"),
        ("receipt", "end"),
    }  # fmt: skip


def test_what_one_passage_answers_takes_one_search_and_one_call(library: KnowledgeBase) -> None:
    endpoint = reading(Direct())
    receipt = ask(PLAIN, library, strategy="auto", model=endpoint)
    assert routes(receipt) == ["single"]
    assert (receipt.answer, receipt.usage.searches, receipt.rounds) == ("1,204", 1, 1)
    assert calls(endpoint) == ["BriefForm"]
    (step,) = [step for step in receipt.steps if step.node == "route"]
    assert "1 steps by its shape; the best passage has" in step.detail


def test_an_answer_that_does_not_hold_goes_on_into_the_loop(library: KnowledgeBase) -> None:
    class Wrong(Direct):
        asked = 0

        def answer(self, request: ChatRequest) -> object:
            self.asked += 1
            if self.asked == 1:
                return {"claims": [{"text": "It had 9,999 bakers.", "evidence": [1]}],
                        "answer": "9,999"}  # fmt: skip
            return super().answer(request)

    endpoint = reading(Wrong())
    receipt = ask(PLAIN, library, strategy="auto", model=endpoint)
    assert routes(receipt) == ["single", "escalated"]
    assert calls(endpoint)[:2] == ["BriefForm", "PlanForm"]
    assert calls(endpoint)[-1] == "BriefForm"
    assert receipt.answer == "1,204"


def test_where_signals_disagree_the_assessor_decides(library: KnowledgeBase) -> None:
    endpoint = reading()
    receipt = ask(QUESTION, library, strategy="auto", model=endpoint)
    assert routes(receipt) == ["undecided"]
    assert (receipt.answer, receipt.stop) == ("Tarn Hollow", "sufficient")
    assert "AssessForm" in calls(endpoint)


@pytest.mark.parametrize(
    "question", ["What is 12 * 7 + 3?", "17+4", "Hello!", "thank you very much"]
)
def test_a_sum_or_small_talk_is_not_searched(library: KnowledgeBase, question: str) -> None:
    receipt = ask(question, library, strategy="auto")
    assert routes(receipt) == ["no_documents"]
    assert (receipt.usage.searches, receipt.outcome.kind) == (0, "abstained")
    assert "ask about what the documents say" in receipt.steps[0].detail


@pytest.mark.parametrize(
    "question",
    [PLAIN, QUESTION, UNKNOWN, "1984", "What is 1984?", "What happened on 9/11?", "How are things?",
     "hello world program", "What is 42 in the guide?", "3-2-1 Contact", "12 years and 3 months?"],
)  # fmt: skip
def test_in_doubt_the_documents_are_searched(question: str) -> None:
    assert not asks_no_document(question)


def signals(**changes: Any) -> Signals:  # noqa: ANN401
    plain = dict(steps=1, unnamed=(), covered=1.0, whole=True, gap=0.5, naming=1)
    return Signals(**{**plain, **changes})


@pytest.mark.parametrize(
    ("found", "route"),
    [
        (signals(), "single"),
        (signals(gap=0.0), "single"),
        (signals(gap=0.0, naming=20), "undecided"),
        (signals(naming=20), "single"),
        (signals(covered=COVERED - 0.01), "undecided"),
        (signals(whole=False), "undecided"),
        (signals(steps=2), "undecided"),
        (signals(steps=2, covered=0.2), "multi_hop"),
        (signals(covered=0.0, whole=False, unnamed=("Zebulon",), naming=0), "undecided"),
    ],
)
def test_the_route_follows_from_the_signals(found: Signals, route: Route) -> None:
    assert route_of(found) == route


def test_signals_are_read_off_the_first_search() -> None:
    def passage(title: str, text: str) -> Passage:
        return Passage(id=title, document_id=title, start=0, end=len(text), title=title, text=text)

    found = [passage("Tarn Hollow", "A village. It had 1,204 inhabitants in 1900."),
             passage("Orrin", "A river by Tarn Hollow.")]  # fmt: skip
    seen = signals_of(PLAIN, found, [0.8, 0.6])
    assert (seen.steps, seen.unnamed, seen.whole, seen.naming) == (1, (), True, 2)
    assert seen.gap == pytest.approx(0.25)
    assert seen.covered == 1.0
    nothing = signals_of("Who is Xanthippe Zebulon?", [], [])
    assert (nothing.covered, nothing.gap, nothing.naming) == (0.0, 0.0, 0)
    assert nothing.unnamed == ("Xanthippe Zebulon",)


def test_its_calls_are_within_its_docstring(library: KnowledgeBase) -> None:
    class Never(Reader):
        enough = "no such words"
        number = 0

        def queries(self, request: ChatRequest) -> object:
            self.number += 1
            return {"queries": [f"{name} {self.number}" for name in ("Orrin", "Saben", "Maddock")]}

    for rounds in (1, 2, 4):
        endpoint = reading(Never())
        receipt = ask(QUESTION, library, strategy="auto", model=endpoint,
                      settings=RunSettings(max_rounds=rounds))  # fmt: skip
        assert receipt.usage.calls == len(endpoint.requests) <= 2 * receipt.rounds + 2


def test_a_loop_that_found_too_little_searches_the_tree_where_there_is_one(tmp_path: Path) -> None:
    with open_chain(make_chain(tmp_path / "store")) as library:
        before = ask(UNKNOWN, library, strategy="auto")
        assert "navigate" not in {step.node for step in before.steps}
        ask(QUESTION, library, strategy="lattice")  # builds it
        after = ask(UNKNOWN, library, strategy="auto", record=tmp_path / "run.jsonl")
        assert "navigate" in {step.node for step in after.steps}
        assert after.stop in ("no_progress", "max_rounds")
    assert replay(tmp_path / "run.jsonl").difference == ""


@pytest.mark.parametrize("budget", [Budget(), Budget(calls=2), Budget(searches=1), Budget(calls=0)])
def test_its_runs_replay_equal_within_the_budget(
    library: KnowledgeBase, tmp_path: Path, budget: Budget
) -> None:
    for number, (question, model) in enumerate([(PLAIN, reading(Direct())), (QUESTION, reading()),
                                                (UNKNOWN, None)]):  # fmt: skip
        path = tmp_path / f"{number}.jsonl"
        receipt = ask(question, library, strategy="auto", model=model, budget=budget, record=path)
        assert receipt.usage.calls <= budget.calls
        assert receipt.usage.searches <= budget.searches
        assert replay(path).difference == ""


def test_replies_that_cannot_be_used_cost_no_answer(library: KnowledgeBase) -> None:
    garbage = dict.fromkeys(
        ("PlanForm", "AssessForm", "QueriesForm", "BriefForm"), lambda _: json.dumps([1])
    )
    receipt = ask(QUESTION, library, strategy="auto", model=reading(by_schema=garbage))
    assert receipt.fallbacks > 0
    assert any("Tarn Hollow" in item.quote for item in receipt.evidence)
