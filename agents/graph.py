"""How nodes become a LangGraph graph: what every strategy shares.

The shape of a run is in `strategies/`, one screen each. Here a node function is given its context,
an explicit recursion limit keeps a wiring mistake from looping (LangGraph's own default is 10,007
steps), and a timeout far above the budget's own deadline ends what hangs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.runs.interceptor import Cancelled, current_node
from hoptrail.agents.runs.request import RunSettings

RunGraph = StateGraph[RunState, RunContext, RunState, RunState]
CompiledRunGraph = CompiledStateGraph[RunState, RunContext, RunState, RunState]
NodeFunction = Callable[[RunState, RunContext], Awaitable[RunState]]

LOOP_NODES = 5
"""Nodes of the longest loop a strategy has, with room for one more."""
OTHER_NODES = 8
"""Nodes before and after the loop, with room."""
GRACE_SECONDS = 60.0
"""Seconds above the budget after which a node counts as hung: the ledger ends all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A name and the edges behind it."""

    name: str
    wire: Callable[[RunGraph], None]


def add_nodes(graph: RunGraph, *functions: NodeFunction) -> None:
    """Adds node functions under their own names."""
    for function in functions:
        graph.add_node(function.__name__, _with_context(function))


def unless_stopped(onward: str) -> Callable[[RunState], str]:
    """An edge that goes on to a node, or to `answer` once the run has a stop reason."""

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
