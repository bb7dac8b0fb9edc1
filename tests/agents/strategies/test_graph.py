"""A strategy's graph is plain LangGraph: drawn, streamed, fanned out, nested, checkpointed."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send
from support.agents import QUESTION, substance

from hoptrail.agents import STRATEGIES, Budget, Receipt, Strategy, ask, nodes, replay
from hoptrail.agents.budget.branches import current_branch
from hoptrail.agents.budget.ledger import Ledger
from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.selection import local_roles
from hoptrail.agents.strategies.graph import RunGraph, add_nodes, compiled_graph, with_saver


def run_of(library: KnowledgeBase) -> RunContext:
    return RunContext(
        question=QUESTION, strategy="pool", model="", corpus=library.corpus,
        ledger=Ledger.open(None, Budget()), roles=local_roles(library.corpus, lambda: 60.0),
    )  # fmt: skip


def receipt_in(values: dict[str, Any]) -> Receipt:
    return Receipt.parse(values["receipt"])


PAGE = Path(__file__).parents[3] / "docs" / "strategies.md"


def test_every_strategy_is_drawn_in_the_docs_as_its_graph_is() -> None:
    """Where one differs: put what `drawn` gives into docs/strategies.md."""
    text = PAGE.read_text("utf-8")
    assert re.findall(r"^## `(.+)`$", text, re.MULTILINE) == sorted(STRATEGIES)
    for name, strategy in STRATEGIES.items():
        section = text.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
        assert f"```mermaid\n{drawn(strategy)}\n```" in section, name


def drawn(strategy: Strategy) -> str:
    """The Mermaid diagram of a strategy's graph, without LangGraph's styles."""
    lines = compiled_graph(strategy).get_graph().draw_mermaid(with_styles=False).splitlines()
    return "\n".join(line.replace("\t", "    ").rstrip(";") for line in lines if line.strip())


def test_a_conversation_begins_with_the_rewriting() -> None:
    for strategy in STRATEGIES.values():
        plain = compiled_graph(strategy).get_graph().edges
        talked = compiled_graph(strategy, conversation=True).get_graph().edges
        (first,) = (edge.target for edge in plain if edge.source == START)
        begins = {(edge.source, edge.target) for edge in talked}
        assert {(START, "rewrite"), ("rewrite", first)} <= begins
        assert (START, first) not in begins


def test_a_graph_is_compiled_once() -> None:
    pool = STRATEGIES["pool"]
    assert compiled_graph(pool) is compiled_graph(pool)
    kept = with_saver(compiled_graph(pool), InMemorySaver())
    assert kept is not compiled_graph(pool)
    assert compiled_graph(pool).checkpointer is None


def test_events_go_through_the_custom_stream_too(library: KnowledgeBase) -> None:
    heard: list[object] = []
    run = replace(run_of(library), emit=heard.append)

    async def streamed() -> list[object]:
        graph = compiled_graph(STRATEGIES["pool"])
        parts = graph.astream(RunState(question=QUESTION), context=run, stream_mode="custom")
        return [part async for part in parts]

    parts = asyncio.run(streamed())
    assert parts == heard
    assert {StepStarted, EvidenceAdded} <= {type(part) for part in parts}


def test_the_context_is_typed_and_must_be_given() -> None:
    graph = compiled_graph(STRATEGIES["single"])
    assert graph.builder.context_schema is RunContext
    with pytest.raises(AttributeError):
        asyncio.run(graph.ainvoke(RunState(question=QUESTION)))


def test_a_plain_saver_keeps_a_run_that_goes_on(library: KnowledgeBase) -> None:
    """LangGraph's own saver with its own serialiser, and a run that stops in the middle."""
    graph = with_saver(compiled_graph(STRATEGIES["pool"]), InMemorySaver())
    config: Any = {"configurable": {"thread_id": "a"}}

    async def in_two_parts() -> dict[str, Any]:
        state = RunState(question=QUESTION)
        before: Any = {"interrupt_before": ["answer"]}
        half = await graph.ainvoke(state, config, context=run_of(library), **before)
        assert half["receipt"] == ""
        assert (await graph.aget_state(config)).next == ("answer",)
        whole: dict[str, Any] = await graph.ainvoke(None, config, context=run_of(library))
        return whole

    made, whole = receipt_in(asyncio.run(in_two_parts())), ask(QUESTION, library)
    unlike = {"budget", "generation"}
    assert {k: v for k, v in substance(made).items() if k not in unlike} == {
        k: v for k, v in substance(whole).items() if k not in unlike
    }


def test_a_strategy_is_a_subgraph_of_another_graph(library: KnowledgeBase) -> None:
    outer: RunGraph = StateGraph(RunState, context_schema=RunContext)

    async def before(state: RunState) -> StateUpdate:
        return StateUpdate(question=QUESTION)

    async def after(state: RunState) -> StateUpdate:
        return StateUpdate(queries=())

    outer.add_node("before", before)
    outer.add_node("hop", compiled_graph(STRATEGIES["single"]))
    outer.add_node("after", after)
    outer.add_edge(START, "before")
    outer.add_edge("before", "hop")
    outer.add_edge("hop", "after")
    outer.add_edge("after", END)
    values = asyncio.run(
        outer.compile().ainvoke(RunState(question="something else"), context=run_of(library))
    )
    receipt = receipt_in(values)
    assert receipt.evidence == ask(QUESTION, library, strategy="single").evidence
    assert [step.node for step in receipt.steps] == ["retrieve", "refine", "answer", "verify"]


def test_a_subgraph_uses_its_parents_checkpoints_and_stream(library: KnowledgeBase) -> None:
    outer: RunGraph = StateGraph(RunState, context_schema=RunContext)
    outer.add_node("hop", compiled_graph(STRATEGIES["single"]))
    outer.add_edge(START, "hop")
    outer.add_edge("hop", END)
    saver = InMemorySaver()
    graph = outer.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": "theirs"}}

    async def streamed() -> tuple[list[tuple[str, str]], dict[str, Any]]:
        parts = graph.astream(
            RunState(question=QUESTION),
            config,
            context=run_of(library),
            stream_mode="updates",
            subgraphs=True,
        )
        seen = [(place[0].split(":")[0] if place else "", *part) async for place, part in parts]
        return seen, (await graph.aget_state(config)).values

    seen, values = asyncio.run(streamed())
    inner = ["retrieve", "refine", "answer", "verify", "receipt"]
    assert seen == [*(("hop", name) for name in inner), ("", "hop")]
    assert {place.split(":")[0] for place in saver.storage["theirs"]} == {"", "hop"}
    assert receipt_in(values).evidence == ask(QUESTION, library, strategy="single").evidence


SEEN: list[tuple[int, ...]] = []


async def look_up(state: RunState, run: RunContext) -> StateUpdate:
    """One search of a fan-out."""
    SEEN.append(current_branch().path)
    return await nodes.retrieve(state, run)


def fanned(graph: RunGraph) -> None:
    """Plan, then each query in a branch of its own, then read, answer and verify."""
    add_nodes(graph, nodes.plan, look_up, nodes.refine)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "plan")

    def each(state: RunState) -> list[Send]:
        return [Send("look_up", replace(state, queries=(query,))) for query in state.queries]

    graph.add_conditional_edges("plan", each, ["look_up"])
    graph.add_edge("look_up", "refine")
    graph.add_edge("refine", "answer")
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


FAN = Strategy(name="fan", wire=fanned)


def test_parallel_branches_join_without_a_collision(library: KnowledgeBase, tmp_path: Path) -> None:
    SEEN.clear()
    question = "Who was born first, Ilsa Corrin or Otto Renn of the Veil Institute?"
    path = tmp_path / "run.jsonl"
    receipt = ask(question, library, strategy=FAN, record=path)
    assert receipt.plan is not None
    searches = [step for step in receipt.steps if step.node == "retrieve"]
    assert len(searches) == receipt.usage.searches == len(SEEN) > 2
    assert [(number,) for number in range(len(searches))] == SEEN
    assert receipt.rounds == 1
    ids = [item.id for item in receipt.evidence]
    assert len(ids) == len(set(ids)) > 0
    found = {name for step in searches for name in step.found}
    assert {c.passage_id for c in receipt.candidates} <= found
    again = replay(path, strategy=FAN)
    assert (again.same, again.difference) == (True, "")


def test_a_fan_out_finds_what_one_node_finds(library: KnowledgeBase) -> None:
    question = "Who was born first, Ilsa Corrin or Otto Renn of the Veil Institute?"

    def straight(graph: RunGraph) -> None:
        add_nodes(graph, nodes.plan, nodes.retrieve, nodes.refine)
        add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
        order = [START, "plan", "retrieve", "refine", "answer", "verify", "receipt", END]
        for one, other in itertools.pairwise(order):
            graph.add_edge(one, other)

    one = ask(question, library, strategy=Strategy(name="straight", wire=straight))
    other = ask(question, library, strategy=FAN)
    assert {c.passage_id for c in one.candidates} == {c.passage_id for c in other.candidates}
    assert {e.id for e in one.evidence} & {e.id for e in other.evidence}
