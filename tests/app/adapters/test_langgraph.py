"""A run inside somebody else's graph, which has its own state, checkpointer and stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from support.agents import QUESTION, make_chain, open_chain
from support.chat_server import FakeServer, hang

from hoptrail.agents import Receipt, ServedModel
from hoptrail.agents.events import Done, Event, EvidenceAdded, StepStarted
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.adapters import question_node


class State(TypedDict, total=False):
    """The state of the other graph."""

    topic: str
    question: str
    answer: str
    receipt: str
    approved: bool


def around(
    node: Callable[[Any], Awaitable[dict[str, str]]],
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A graph with a step before and a step after that waits for a person."""

    async def before(state: State) -> State:
        return {"question": state["topic"]}

    async def after(state: State) -> State:
        return {"approved": interrupt({"answer": state["answer"]})}

    graph = StateGraph(State)
    graph.add_node("before", before)
    graph.add_node("documents", node)
    graph.add_node("after", after)
    graph.add_edge(START, "before")
    graph.add_edge("before", "documents")
    graph.add_edge("documents", "after")
    graph.add_edge("after", END)
    return graph.compile(checkpointer=InMemorySaver())


CONFIG: Any = {"configurable": {"thread_id": "theirs"}}


def test_a_run_in_a_graph_with_a_checkpointer_and_a_stream(kb: KnowledgeBase) -> None:
    heard: list[Event] = []
    graph = around(question_node(kb, on_event=heard.append))

    async def run() -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
        parts = [
            part
            async for part in graph.astream(
                {"topic": QUESTION}, CONFIG, stream_mode=["updates", "custom"]
            )
        ]
        halted = (await graph.aget_state(CONFIG)).values
        return parts, halted, await graph.ainvoke(Command(resume=True), CONFIG)

    parts, halted, whole = asyncio.run(run())
    events = [part for mode, part in parts if mode == "custom"]
    assert events == heard
    assert {StepStarted, EvidenceAdded, Done} <= {type(one) for one in events}
    updates = [set(part) for mode, part in parts if mode == "updates"]
    assert updates == [{"before"}, {"documents"}, {"__interrupt__"}]
    receipt = Receipt.parse(halted["receipt"])
    alone = kb.ask(QUESTION)
    assert (receipt.answer, receipt.evidence) == (alone.answer, alone.evidence)
    assert halted["answer"] == receipt.answer
    assert whole["approved"] is True
    assert whole["receipt"] == halted["receipt"], "the run is not made again by the resume"


def test_the_runs_own_checkpoints_stay_out_of_the_graphs(kb: KnowledgeBase) -> None:
    graph = around(question_node(kb))
    asyncio.run(graph.ainvoke({"topic": QUESTION}, CONFIG))
    saver = graph.checkpointer
    assert isinstance(saver, InMemorySaver)
    assert list(saver.storage) == ["theirs"]
    assert list(saver.storage["theirs"]) == [""]
    assert kb.unfinished_runs() == []


def test_two_questions_in_one_graph_run_side_by_side(kb: KnowledgeBase) -> None:
    graph = StateGraph(State)
    graph.add_node("left", question_node(kb, answer="answer", receipt="receipt"))
    graph.add_node("right", question_node(kb, question="topic", answer="left", receipt="right"))

    class Both(State, total=False):
        left: str
        right: str

    both = StateGraph(Both)
    for name, node in graph.nodes.items():
        both.add_node(name, node.runnable)
        both.add_edge(START, name)
    asked: Both = {"question": QUESTION, "topic": "Who founded the Veil Institute?"}
    found = asyncio.run(both.compile().ainvoke(asked))
    assert Receipt.parse(found["receipt"]).question == QUESTION
    assert Receipt.parse(found["right"]).question == asked["topic"]
    assert "Otto Renn" in found["left"]


def test_cancelling_the_graph_ends_the_runs_model_calls(tmp_path: Path) -> None:
    async def run(kb: KnowledgeBase, server: FakeServer) -> None:
        node = question_node(kb, model=ServedModel(url=server.url))
        task = asyncio.ensure_future(around(node).ainvoke({"topic": QUESTION}, CONFIG))
        while not server.chats:
            await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    root = make_chain(tmp_path / "store")
    with FakeServer(hang) as server, open_chain(root) as kb:
        asyncio.run(run(kb, server))
        assert server.hung_up.wait(60)
