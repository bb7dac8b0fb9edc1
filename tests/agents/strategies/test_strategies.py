"""Strategies: which there are, and that a new one touches no other."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START
from support.agents import QUESTION

from hoptrail.agents import STRATEGIES, Budget, RunSettings, ask, nodes
from hoptrail.agents.budget.branches import current_branch
from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate, first_given
from hoptrail.agents.roles.selection import local_roles
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.strategies import registry as strategies
from hoptrail.agents.strategies.graph import (
    NodeFunction,
    RunGraph,
    Strategy,
    add_nodes,
    compiled_graph,
    recursion_limit,
    unless_stopped,
)
from hoptrail.rag.errors import SettingsError


def shape(strategy: Strategy) -> set[tuple[str, str]]:
    drawn = compiled_graph(strategy).get_graph()
    return {(edge.source.strip("_"), edge.target.strip("_")) for edge in drawn.edges}


def test_every_strategy_is_registered_under_the_name_of_its_file() -> None:
    files = Path(strategies.__file__).parent.glob("[!_]*.py")
    stems = {path.stem for path in files} - {"graph", "registry"}
    assert set(STRATEGIES) == {stem.replace("_", "-") for stem in stems}
    for name, strategy in STRATEGIES.items():
        assert strategy.name == name
        assert strategies.strategy(name) is strategy
    with pytest.raises(TypeError):
        STRATEGIES["new"] = STRATEGIES["pool"]  # type: ignore[index]


def test_an_unknown_strategy_is_refused_with_the_known_ones(library: KnowledgeBase) -> None:
    wanted = r"Unknown strategy 'iter': use one of auto, ircot, .*, self-ask, single\."
    with pytest.raises(SettingsError, match=wanted):
        ask(QUESTION, library, strategy="iter")


def test_pool_is_the_loop_of_the_design() -> None:
    assert shape(STRATEGIES["pool"]) == {
        ("start", "plan"), ("plan", "retrieve"), ("retrieve", "refine"),
        ("refine", "assess"), ("refine", "answer"),
        ("assess", "next_query"), ("assess", "answer"),
        ("next_query", "retrieve"), ("next_query", "answer"),
        ("answer", "verify"), ("verify", "receipt"), ("receipt", "end"),
    }  # fmt: skip


def test_single_retrieves_once(library: KnowledgeBase) -> None:
    assert shape(STRATEGIES["single"]) == {
        ("start", "retrieve"), ("retrieve", "refine"), ("refine", "answer"),
        ("answer", "verify"), ("verify", "receipt"), ("receipt", "end"),
    }  # fmt: skip
    receipt = ask(QUESTION, library, strategy="single")
    assert (receipt.strategy, receipt.rounds, receipt.usage.searches) == ("single", 1, 1)


def test_lattice_searches_the_tree_from_what_a_search_found() -> None:
    assert shape(STRATEGIES["lattice"]) == {
        ("start", "retrieve"), ("retrieve", "navigate"), ("retrieve", "refine"),
        ("navigate", "refine"), ("refine", "answer"), ("answer", "verify"),
        ("verify", "receipt"), ("receipt", "end"),
    }  # fmt: skip


def wire_twice(graph: RunGraph) -> None:
    """Plan, then retrieve and refine twice, then answer."""
    add_nodes(graph, nodes.plan, nodes.retrieve, nodes.refine, nodes.next_query)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges(
        "refine", lambda state: "next_query" if state.round < 2 else "answer",
        ["next_query", "answer"],
    )  # fmt: skip
    graph.add_conditional_edges("next_query", unless_stopped("retrieve"), ["retrieve", "answer"])
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


def test_a_third_strategy_runs_and_touches_no_other(
    library: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(QUESTION, library, strategy="lattice")  # the first to ask builds the tree and says so
    before = {name: (shape(s), ask(QUESTION, library, strategy=name).steps) for name, s in
              STRATEGIES.items()}  # fmt: skip
    twice = Strategy(name="twice", wire=wire_twice)
    monkeypatch.setattr(strategies, "STRATEGIES", {**STRATEGIES, "twice": twice})
    receipt = ask(QUESTION, library, strategy="twice")
    assert (receipt.strategy, receipt.rounds, receipt.outcome.kind) == ("twice", 2, "quotes")
    assert "assess" not in {step.node for step in receipt.steps}
    after = {name: (shape(s), ask(QUESTION, library, strategy=name).steps) for name, s in
             STRATEGIES.items()}  # fmt: skip
    assert after == before


def run_of(library: KnowledgeBase) -> RunContext:
    return RunContext(
        question="q", strategy="test", model="", corpus=library.corpus,
        ledger=Ledger.open(None, Budget()),
        roles=local_roles(library.corpus, lambda: 60.0),
    )  # fmt: skip


def through(strategy: Strategy, library: KnowledgeBase, **config: Any) -> RunState:  # noqa: ANN401
    graph = compiled_graph(strategy)
    state = RunState(question=QUESTION)
    values = asyncio.run(graph.ainvoke(state, config, context=run_of(library)))  # type: ignore[call-overload]
    return RunState(**values)


def test_a_wiring_mistake_ends_at_the_recursion_limit(library: KnowledgeBase) -> None:
    async def spin(state: RunState, run: RunContext) -> StateUpdate:
        return StateUpdate()

    def wire(graph: RunGraph) -> None:
        add_nodes(graph, spin)
        graph.add_edge(START, "spin")
        graph.add_edge("spin", "spin")

    spinning = Strategy(name="spin", wire=wire)
    limit = recursion_limit(compiled_graph(spinning), 1)
    assert limit < 20
    with pytest.raises(GraphRecursionError):
        through(spinning, library, recursion_limit=limit)


def test_a_loop_of_nine_nodes_runs_its_rounds(library: KnowledgeBase) -> None:
    """The limit is made from the strategy: a longer loop than those that ship is no mistake."""

    def node(name: str) -> NodeFunction:
        async def looped(state: RunState, run: RunContext) -> StateUpdate:
            return StateUpdate(round=state.round + 1) if name == "n0" else StateUpdate()

        looped.__name__ = name
        return looped

    def wire(graph: RunGraph) -> None:
        names = [f"n{number}" for number in range(9)]
        add_nodes(graph, *map(node, names))
        graph.add_edge(START, "n0")
        for one, other in itertools.pairwise(names):
            graph.add_edge(one, other)
        graph.add_conditional_edges("n8", lambda state: END if state.round == 8 else "n0")

    nine = Strategy(name="nine", wire=wire)
    limit = recursion_limit(compiled_graph(nine), 8)
    assert through(nine, library, recursion_limit=limit).round == 8


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_the_longest_run_fits_into_the_recursion_limit(rounds: int) -> None:
    # plan, then retrieve, refine, assess and next_query a round, then answer, verify, receipt
    assert 1 + 4 * rounds + 3 < recursion_limit(compiled_graph(STRATEGIES["pool"]), rounds)


def test_a_node_knows_its_name_and_a_cancellation_becomes_a_stop(library: KnowledgeBase) -> None:
    seen: list[str] = []

    async def first(state: RunState, run: RunContext) -> StateUpdate:
        seen.append(current_branch().node)
        return StateUpdate()

    async def second(state: RunState, run: RunContext) -> StateUpdate:
        seen.append(current_branch().node)
        raise Cancelled

    def wire(graph: RunGraph) -> None:
        add_nodes(graph, first, second)
        graph.add_edge(START, "first")
        graph.add_edge("first", "second")
        graph.add_edge("second", END)

    state = through(Strategy(name="two", wire=wire), library)
    assert seen == ["first", "second"]
    assert current_branch().node == "start"
    assert state.stop == "cancelled"


def test_the_first_stop_reason_stays() -> None:
    assert first_given(None, None) is None
    assert first_given(None, "out_of_time") == "out_of_time"
    assert first_given("out_of_time", "sufficient") == "out_of_time"
    state = RunState(question="q")
    assert unless_stopped("x")(state) == "x"
    assert unless_stopped("x")(replace(state, stop="max_rounds")) == "answer"


@pytest.mark.parametrize("name", ["k", "read", "max_rounds", "iterations", "max_queries"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "3"])
def test_settings_that_could_not_search_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{name}={value!r}"):
        RunSettings(**{name: value})  # type: ignore[arg-type]
