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

from hoptrail.agents.nodes.state import Run, State
from hoptrail.agents.runs.interceptor import Cancelled, current_node
from hoptrail.agents.runs.request import Settings

Graph = StateGraph[State, Run, State, State]
Compiled = CompiledStateGraph[State, Run, State, State]
Node = Callable[[State, Run], Awaitable[State]]

LOOP = 5
"""Nodes of the longest loop a strategy has, with room for one more."""
ENDS = 8
"""Nodes before and after the loop, with room."""
GRACE = 60.0
"""Seconds above the budget after which a node counts as hung: the ledger ends all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A name and the edges behind it."""

    name: str
    wire: Callable[[Graph], None]


def add(graph: Graph, *functions: Node) -> None:
    """Adds node functions under their own names."""
    for function in functions:
        graph.add_node(function.__name__, _with_context(function))


def unless_stopped(onward: str) -> Callable[[State], str]:
    """An edge that goes on to a node, or to `answer` once the run has a stop reason."""

    def route(state: State) -> str:
        return onward if state.stop is None else "answer"

    return route


def build(
    strategy: Strategy, *, seconds: float, checkpointer: BaseCheckpointSaver[Any] | None = None
) -> Compiled:
    """The graph of a strategy, ready to run."""
    graph: Graph = StateGraph(State, context_schema=Run)
    graph.set_node_defaults(timeout=seconds + GRACE)
    strategy.wire(graph)
    return graph.compile(checkpointer=checkpointer, name=strategy.name)


def recursion_limit(settings: Settings) -> int:
    """The most steps any strategy may take under these settings."""
    return LOOP * settings.max_rounds + ENDS


def _with_context(function: Node) -> Callable[..., Awaitable[State]]:
    async def node(state: State, runtime: Runtime[Run]) -> State:
        token = current_node.set(function.__name__)
        try:
            return await function(state, runtime.context)
        except Cancelled:
            return state.stopped("cancelled")
        finally:
            current_node.reset(token)

    return node
