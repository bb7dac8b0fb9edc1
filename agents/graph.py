"""The LangGraph graph of a strategy: building it from node functions, and running it.

The edges of a strategy are in `strategies/`, one screen each. Here a node function is given its
context, an explicit recursion limit ends a loop by mistake (LangGraph's own default is 10,007
steps), and a node that hangs is cut off some seconds after the budget's deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.errors import NodeTimeoutError
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from hoptrail.agents.nodes.answering import receipt
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.runs.checkpoints import saver
from hoptrail.agents.runs.folder import RunFolder
from hoptrail.agents.runs.interceptor import Cancelled, current_node
from hoptrail.agents.runs.request import RunRequest, RunSettings
from hoptrail.agents.types import StepRecord, StopReason

RunGraph = StateGraph[RunState, RunContext, RunState, RunState]
CompiledRunGraph = CompiledStateGraph[RunState, RunContext, RunState, RunState]
NodeFunction = Callable[[RunState, RunContext], Awaitable[RunState]]

LOOP_NODES = 5
"""Nodes of the longest loop of a strategy, with room for one more."""
OTHER_NODES = 8
"""Nodes before and after the loop, with room."""
GRACE_SECONDS = 5.0
"""A node is cut off this many seconds after the run's budget of seconds is over. (In normal runs
the deadlines of its calls end it first.)"""


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
    # For nodes that were not added by `add_nodes`; those of `add_nodes` are cut off before.
    graph.set_node_defaults(timeout=seconds + 2 * GRACE_SECONDS)
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
            state = await _first_state(request, context)
        durability: Any = {"durability": "sync"} if folder else {}
        try:
            values = await graph.ainvoke(state, config, context=context, **durability)
        except NodeTimeoutError:
            kept = (await graph.aget_state(config)).values if checkpointer is not None else {}
            return await ended_early(
                request, context, "out_of_time", RunState(**kept) if kept else state
            )
        return RunState(**values)


async def ended_early(
    request: RunRequest, context: RunContext, stop: StopReason, state: RunState | None = None
) -> RunState:
    """The last state of a run that ends without its graph, with a receipt of what there is.

    Args:
        request: the question.
        context: what every node is given.
        stop: why it ends.
        state: what was known; None: nothing.
    """
    state = state or await _first_state(request, context)
    return await _with_context(receipt)(state.stopped(stop), Runtime(context=context))


async def _first_state(request: RunRequest, context: RunContext) -> RunState:
    state = RunState(question=request.question, where=tuple(sorted(request.where.items())))
    try:
        generation = await context.corpus.generation(timeout=context.read_seconds())
    except TimeoutError:
        return state.stopped("out_of_time")
    return replace(state, generation=generation)


def recursion_limit(settings: RunSettings) -> int:
    """The most steps any strategy may take under these settings."""
    return LOOP_NODES * settings.max_rounds + OTHER_NODES


def _with_context(function: NodeFunction) -> Callable[..., Awaitable[RunState]]:
    async def node(state: RunState, runtime: Runtime[RunContext]) -> RunState:
        token = current_node.set(function.__name__)
        limit = runtime.context.ledger.seconds_left() + GRACE_SECONDS
        try:
            async with asyncio.timeout(limit):
                return await function(state, runtime.context)
        except Cancelled:
            return state.stopped("cancelled")
        except TimeoutError as error:
            detail = str(error) or f"it had not ended after {limit:.3g} s"
            record = StepRecord(node=function.__name__, action="cut off", detail=detail)
            return state.step(record).stopped("out_of_time")
        finally:
            current_node.reset(token)

    return node
