"""`plan`: steps side by side, answers with quotes, one more plan; the same in every order."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.agents import QUESTION, Around, make_chain, open_chain, over, reading, said

from hoptrail.agents import STRATEGIES, Budget, KnowledgeBase, Receipt, RunSettings, ask, replay
from hoptrail.agents.ask import resume
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest
from hoptrail.agents.roles.base import RoleResult, Roles
from hoptrail.agents.runs.folder import unfinished_runs
from hoptrail.agents.strategies.graph import compiled_graph
from hoptrail.agents.types import Step
from hoptrail.rag.types import Mode, Ranking, Where

CHAIN_PLAN = [
    ("Who was the first master of the Heron?", "hybrid", "first master Heron"),
    ("Where was {{s1.answer}} born?", "hybrid", "{{s1.answer}} born"),
]
WIDE_PLAN = [
    ("Who was the first master of the Heron?", "hybrid", "first master Heron"),
    ("Who founded the Veil Institute?", "lexical", "Veil Institute"),
    ("When was the light of Port Saben lit?", "hybrid", "Port Saben light"),
    ("Where was {{s1.answer}} born?", "hybrid", "{{s1.answer}} born"),
    ("Is it {{s4.answer}} or {{s2.answer}}?", "none", ""),
]
ANSWERS = {
    "first master of the Heron born": "Tarn Hollow",
    "first master of the Heron": "Ilsa Corrin",
    "Ilsa Corrin born": "Tarn Hollow",
    "founded the Veil": "Otto Renn",
    "light of Port Saben": "3 May 1869",
    "Is it Tarn Hollow or Otto Renn": "Tarn Hollow",
}


def planned(*plans: list[tuple[str, str, str]]) -> list[str]:
    return [
        json.dumps({"reasoning": "r", "steps": [
            {"question": q, "source": s, "query": w} for q, s, w in steps]})
        for steps in plans
    ]  # fmt: skip


def brief(request: ChatRequest) -> str:
    asked = said(request).rpartition("Question: ")[2]
    return json.dumps({"answer": next((a for q, a in ANSWERS.items() if q in asked), "unknown")})


def model(*plans: list[tuple[str, str, str]], read: Callable[[ChatRequest], str] = brief) -> Any:  # noqa: ANN401
    return reading(by_schema={"StepsForm": planned(*plans), "BriefForm": read})


def answered(receipt: Receipt) -> dict[str, str]:
    return {s.action.removeprefix("answered "): s.detail
            for s in receipt.steps if s.node == "read_steps"}  # fmt: skip


def test_its_graph() -> None:
    drawn = compiled_graph(STRATEGIES["plan"]).get_graph()
    assert {(e.source.strip("_"), e.target.strip("_")) for e in drawn.edges} == {
        ("start", "plan_steps"), ("plan_steps", "search_step"), ("plan_steps", "answer"),
        ("search_step", "read_steps"), ("read_steps", "search_step"),
        ("read_steps", "plan_steps"), ("read_steps", "answer"),
        ("answer", "verify"), ("verify", "receipt"), ("receipt", "end"),
    }  # fmt: skip


def test_an_answer_goes_into_the_step_that_needs_it(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, strategy="plan", model=model(CHAIN_PLAN))
    assert (receipt.answer, receipt.outcome.kind, receipt.rounds) == ("Tarn Hollow", "answered", 2)
    searches = [step.detail for step in receipt.steps if step.node == "retrieve"]
    assert searches == [QUESTION, "first master Heron", "Ilsa Corrin born"]
    assert answered(receipt) == {"s1": "Ilsa Corrin", "s2": "Tarn Hollow"}
    assert any("Ilsa Corrin" in item.quote for item in receipt.evidence)
    assert receipt.plan is not None
    assert [(one.id, one.source, one.depends_on) for one in receipt.plan.steps] == [
        ("s1", "hybrid", ()), ("s2", "hybrid", ("s1",)),
    ]  # fmt: skip


@pytest.mark.parametrize(("plan", "read"), [(CHAIN_PLAN, 2), (WIDE_PLAN, 5), (WIDE_PLAN[:1], 0)])
def test_its_calls_are_those_of_its_docstring(
    library: KnowledgeBase, plan: list[tuple[str, str, str]], read: int
) -> None:
    endpoint = model(plan)
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    assert receipt.usage.calls == len(endpoint.requests) == 2 + read


def test_without_a_model_it_calls_none(library: KnowledgeBase, tmp_path: Path) -> None:
    receipt = ask(QUESTION, library, strategy="plan", record=tmp_path / "run.jsonl")
    assert (receipt.usage.calls, receipt.outcome.kind) == (0, "quotes")
    assert "Ilsa Corrin" in answered(receipt)["s1"]
    assert any("Tarn Hollow" in item.quote for item in receipt.evidence)
    assert replay(tmp_path / "run.jsonl").difference == ""


def test_an_answer_that_stands_in_no_passage_leads_to_one_more_plan(library: KnowledgeBase) -> None:
    def invents(request: ChatRequest) -> str:
        return json.dumps({"answer": "Zebulon Quux"}) if "first master" in said(request) else (
            brief(request))  # fmt: skip

    second = [("Where was the navigator born?", "hybrid", "Ilsa Corrin navigator born")]
    endpoint = model(CHAIN_PLAN, second, read=invents)
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    assert receipt.plan is not None
    assert [one.id for one in receipt.plan.steps] == ["s1", "s3"]
    searches = [step.detail for step in receipt.steps if step.node == "retrieve"]
    assert searches == [QUESTION, "first master Heron", "Ilsa Corrin navigator born"]
    (again,) = [said(r) for r in endpoint.requests if r.schema_name == "StepsForm"][1:]
    assert "Who was the first master of the Heron? Not stated." in again
    assert sum(step.node == "plan_steps" for step in receipt.steps) == 2


def test_a_step_whose_reference_failed_twice_is_left_out(library: KnowledgeBase) -> None:
    endpoint = model(CHAIN_PLAN, CHAIN_PLAN, read=lambda _: json.dumps({"answer": "unknown"}))
    receipt = ask(QUESTION, library, strategy="plan", model=endpoint)
    assert sum(step.node == "plan_steps" for step in receipt.steps) == 2
    assert not any("born" in s.detail and s.node == "retrieve" and s.detail != QUESTION
                   for s in receipt.steps)  # fmt: skip
    assert receipt.stop == "unjudged"


def test_its_waves_are_limited(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, strategy="plan", model=model(CHAIN_PLAN),
                  settings=RunSettings(max_rounds=1))  # fmt: skip
    assert (receipt.rounds, receipt.stop) == (1, "max_rounds")


def test_a_planner_of_the_users_own_is_checked_too(library: KnowledgeBase) -> None:
    class Circular:
        async def plan_steps(self, *_: object) -> RoleResult[tuple[Step, ...]]:
            one = Step(id="s1", question="A?", depends_on=("s2",))
            return RoleResult(value=(one, replace(one, id="s2", depends_on=("s1",))))

    def choose(roles: Roles) -> Roles:
        return replace(roles, step_planner=Circular())

    receipt = ask(QUESTION, library, strategy="plan", roles=choose)
    assert receipt.plan is not None
    assert [one.question for one in receipt.plan.steps] == [QUESTION]
    assert "in a circle" in receipt.steps[0].detail


class Slow(Around):
    """A corpus whose searches come back in any order."""

    def __init__(self, library: KnowledgeBase, rng: random.Random) -> None:
        super().__init__(library.corpus)
        self.rng = rng

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        await _pause(self.rng)
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)


class SlowServer(ScriptedEndpoint):
    """A server whose replies come back in any order."""

    rng: random.Random

    async def attempt(self, request: ChatRequest, **options: Any) -> ChatReply:  # noqa: ANN401
        await _pause(self.rng)
        return await super().attempt(request, **options)


async def _pause(rng: random.Random) -> None:
    for _ in range(rng.randrange(8)):
        await asyncio.sleep(0)
    if rng.random() < 0.2:
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("seed", range(40))
def test_parallel_steps_replay_equal(library: KnowledgeBase, tmp_path: Path, seed: int) -> None:
    """Delays and budgets are drawn at random: the receipt must not depend on who was faster."""
    rng = random.Random(seed)
    server = model(WIDE_PLAN, CHAIN_PLAN)
    server.__class__ = SlowServer
    server.rng = rng
    budget = Budget(calls=rng.choice([3, 4, 5, 24]), tokens=rng.choice([3_000, 8_000, 60_000]),
                    searches=rng.choice([1, 2, 3, 48]))  # fmt: skip
    path = tmp_path / "run.jsonl"
    receipt = ask(QUESTION, over(library, Slow(library, rng)), strategy="plan", model=server,
                  budget=budget, record=path)  # fmt: skip
    assert receipt.usage.calls <= budget.calls
    assert receipt.usage.searches <= budget.searches
    again = replay(path)
    assert again.difference == ""
    assert again.receipt.canonical() == receipt.canonical()


class Dies(Around):
    """A corpus in which one search ends the process, as far as the run can tell."""

    def __init__(self, library: KnowledgeBase) -> None:
        super().__init__(library.corpus)
        self.dead = False

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        if query == "Veil Institute" and not self.dead:
            self.dead = True
            raise RuntimeError("the process ends here")
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)


def test_a_run_that_ends_between_parallel_steps_goes_on(store: Path, tmp_path: Path) -> None:
    with open_chain(store) as library:
        dying = over(library, Dies(library), runs=tmp_path / "runs")
        with pytest.raises(RuntimeError, match="ends here"):
            ask(QUESTION, dying, strategy="plan", model=model(WIDE_PLAN))
        (run,) = unfinished_runs(tmp_path / "runs")
        receipt = resume(run.id, dying, model=model(WIDE_PLAN, CHAIN_PLAN))
        whole = ask(QUESTION, library, strategy="plan", model=model(WIDE_PLAN))
    assert answered(receipt) == answered(whole)
    assert receipt.answer == whole.answer == "Tarn Hollow"
    assert sum(step.node == "plan_steps" for step in receipt.steps) == 1


def test_the_tree_is_a_source_where_there_is_one(tmp_path: Path) -> None:
    tree = [("What are ships of?", "tree", "ships built of larch")]
    with open_chain(make_chain(tmp_path / "store")) as library:
        without = model(tree, CHAIN_PLAN)
        assert '"tree"' not in said(_planning(without, library))
        ask(QUESTION, library, strategy="lattice")  # builds it
        receipt = ask(QUESTION, library, strategy="plan", model=model(tree))
    assert receipt.plan is not None
    assert [one.source for one in receipt.plan.steps] == ["tree"]
    assert any(step.node == "navigate" and step.action == "found" for step in receipt.steps)


def _planning(endpoint: ScriptedEndpoint, library: KnowledgeBase) -> ChatRequest:
    ask(QUESTION, library, strategy="plan", model=endpoint)
    return next(r for r in endpoint.requests if r.schema_name == "StepsForm")
