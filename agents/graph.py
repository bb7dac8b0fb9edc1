"""The LangGraph graph of a strategy: building it from node functions, and running it.

The edges of a strategy are in `strategies/`, one screen each. Here a node function is given its
context, an explicit recursion limit ends a loop by mistake (LangGraph's own default is 10,007
steps), and a timeout well above the budget's deadline ends a node that hangs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.runs.checkpoints import saver
from hoptrail.agents.runs.folder import RunFolder
from hoptrail.agents.runs.interceptor import Cancelled, current_node
from hoptrail.agents.runs.request import RunRequest, RunSettings

RunGraph = StateGraph[RunState, RunContext, RunState, RunState]
CompiledRunGraph = CompiledStateGraph[RunState, RunContext, RunState, RunState]
NodeFunction = Callable[[RunState, RunContext], Awaitable[RunState]]

LOOP_NODES = 5
"""Nodes of the longest loop of a strategy, with room for one more."""
OTHER_NODES = 8
"""Nodes before and after the loop, with room."""
GRACE_SECONDS = 60.0
"""A node is cancelled this many seconds after the run's budget of seconds is over. (In normal runs
the ledger stops a node first.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A strategy: its name, and the function that adds its nodes and edges to a graph."""

    name: str
    wire: Callable[[RunGraph], None]


def add_nodes(graph: RunGraph, *functions: NodeFunction) -> None:
    """Adds node functions under their own names."""
    for function in functions:
        graph.add_node(function.__name__, _with_context(function))


def unless_stopped(onward: str) -> Callable[[RunState], str]:
    """A conditional edge: to the node `onward`, or to `answer` once the run has a stop reason."""

    def route(state: RunState) -> str:
        return onward if state.stop is None else "answer"

    return route


def compile_graph(
    strategy: Strategy, *, seconds: float, checkpointer: BaseCheckpointSaver[Any] | None = None
) -> CompiledRunGraph:
    """The graph of a strategy, ready to run."""
    graph: RunGraph = StateGraph(RunState, context_schema=RunContext)
    graph.set_node_defaults(timeout=seconds + GRACE_SECONDS)
    strategy.wire(graph)
    return graph.compile(checkpointer=checkpointer, name=strategy.name)


async def run_graph(
    strategy: Strategy, request: RunRequest, context: RunContext, folder: RunFolder | None
) -> RunState:
    """Runs a strategy's graph to its last state, from the beginning or from a run's checkpoint.

    Args:
        strategy: nodes and edges.
        request: the question, its budget and settings.
        context: what every node is given.
        folder: where the run keeps its checkpoints; None: nowhere.
    """
    async with AsyncExitStack() as stack:
        checkpointer = (
            await stack.enter_async_context(saver(folder.checkpoints)) if folder else None
        )
        graph = compile_graph(strategy, seconds=request.budget.seconds, checkpointer=checkpointer)
        config: Any = {
            "configurable": {"thread_id": folder.id if folder else "run"},
            "recursion_limit": recursion_limit(request.settings),
        }
        state: RunState | None = None
        if checkpointer is None or await checkpointer.aget_tuple(config) is None:
            state = RunState(
                question=request.question,
                where=tuple(sorted(request.where.items())),
                generation=await context.corpus.generation(),
            )
        durability: Any = {"durability": "sync"} if folder else {}
        values = await graph.ainvoke(state, config, context=context, **durability)
        return RunState(**values)


def recursion_limit(settings: RunSettings) -> int:
    """The most steps any strategy may take under these settings."""
    return LOOP_NODES * settings.max_rounds + OTHER_NODES


def _with_context(function: NodeFunction) -> Callable[..., Awaitable[RunState]]:
    async def node(state: RunState, runtime: Runtime[RunContext]) -> RunState:
        token = current_node.set(function.__name__)
        try:
            return await function(state, runtime.context)
        except Cancelled:
            return state.stopped("cancelled")
        finally:
            current_node.reset(token)

    return node
