"""The LangGraph graph of a strategy: building it from node functions, and running it.

The edges of each strategy are in the files beside this one. Here a node function is given its
context and its branch of the run's clock, a recursion limit made from the strategy ends a loop by
mistake (LangGraph's own default is 10,007 steps), and a node that hangs is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from langgraph.types import Command

from hoptrail.agents.budget.branches import Branch, current_branch, within
from hoptrail.agents.events import Event, Listener
from hoptrail.agents.nodes.answering import receipt
from hoptrail.agents.nodes.rewriting import rewrite
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.runs.request import RunRequest
from hoptrail.agents.types import StepRecord, StopReason
from hoptrail.rag.errors import SettingsError

RunGraph = StateGraph[RunState, RunContext, RunState, RunState]
CompiledRunGraph = CompiledStateGraph[RunState, RunContext, RunState, RunState]
NodeFunction = Callable[[RunState, RunContext], Awaitable[StateUpdate]]

SPARE_STEPS = 8
"""Steps that a run may take beyond one pass through each node in every round."""
GRACE_SECONDS = 5.0
"""A node is left this many seconds after the run's budget of seconds is over. (In normal runs the
deadlines of its calls end it first; this one is for code of yours that hangs.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A strategy: its name, and the function that adds its nodes and edges to a graph."""

    name: str
    wire: Callable[[RunGraph], None]


class Paused(Exception):
    """A run waits for a reply from outside: a node called LangGraph's `interrupt`.

    `aresume(run, …, reply=…)` goes on with it, in this process or another; its clock stands still
    until then.

    Attributes:
        run: the id of the run.
        payload: what the node showed, a JSON value.
    """

    def __init__(self, run: str, payload: Any) -> None:  # noqa: ANN401 - any JSON
        super().__init__(f"Run {run!r} waits for a reply: pass it to resume(run, reply=…).")
        self.run = run
        self.payload = payload


def add_nodes(graph: RunGraph, *functions: NodeFunction) -> None:
    """Adds node functions under their own names."""
    for function in functions:
        graph.add_node(function.__name__, _with_context(function))


def unless_stopped(onward: str) -> Callable[[RunState], str]:
    """A conditional edge: to the node `onward`, or to `answer` once the run has a stop reason."""

    def route(state: RunState) -> str:
        return onward if state.stop is None else "answer"

    return route


@lru_cache(maxsize=32)
def compiled_graph(strategy: Strategy, *, conversation: bool = False) -> CompiledRunGraph:
    """The graph of a strategy, compiled once; it is shared by runs, and has no checkpoints.

    Args:
        strategy: nodes and edges.
        conversation: whether the question follows others, and is first made to stand alone.
    """
    graph: RunGraph = StateGraph(RunState, context_schema=RunContext)
    strategy.wire(graph)
    if conversation:
        _begin_with_rewrite(graph)
    return graph.compile(name=strategy.name)


def with_saver(graph: CompiledRunGraph, saver: BaseCheckpointSaver[Any]) -> CompiledRunGraph:
    """The same graph with checkpoints."""
    return graph.copy({"checkpointer": saver})


async def run_graph(
    strategy: Strategy,
    request: RunRequest,
    context: RunContext,
    *,
    run: str = "",
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    reply: object = None,
) -> RunState:
    """Runs a strategy's graph to its last state, from the beginning or from a run's checkpoint.

    Args:
        strategy: nodes and edges.
        request: the question, its budget and settings.
        context: what every node is given.
        run: the run's id.
        checkpointer: where its checkpoints are; None: nowhere.
        reply: what a paused run was waiting for; None: it was not.

    Raises:
        Paused: a node waits for a reply.
        SettingsError: the run waits for a reply that is not given, or for none.
    """
    graph = compiled_graph(strategy, conversation=bool(request.history))
    config: Any = {
        "configurable": {"thread_id": run or "run"},
        "recursion_limit": recursion_limit(graph, request.settings.most_rounds),
    }
    options: Any = {}
    begun = False
    if checkpointer is not None:
        graph, options = with_saver(graph, checkpointer), {"durability": "sync"}
        begun = await checkpointer.aget_tuple(config) is not None
        waiting = begun and bool((await graph.aget_state(config)).interrupts)
        _check_reply(run, waiting=waiting, given=reply is not None)
    begin: Any = None
    if not begun:
        begin = await _first_state(request, context)
    elif reply is not None:
        begin = Command(resume=reply)
    try:
        # For nodes that `add_nodes` did not add: its own end before.
        async with asyncio.timeout(context.ledger.seconds_left() + 2 * GRACE_SECONDS):
            values = await graph.ainvoke(begin, config, context=context, **options)
    except TimeoutError:
        kept = (await graph.aget_state(config)).values if checkpointer is not None else {}
        return await ended_early(
            request, context, "out_of_time", RunState(**kept) if kept else begin
        )
    if interrupts := values.pop("__interrupt__", ()):
        raise Paused(run, interrupts[0].value)
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
    state = replace(state, stop=state.stop or stop)
    update = await receipt(state, context)
    return replace(state, receipt=update["receipt"])


async def _first_state(request: RunRequest, context: RunContext) -> RunState:
    state = RunState(
        question=request.question,
        history=request.history,
        where=tuple(sorted(request.where.items())),
    )
    try:
        generation = await context.corpus.generation(timeout=context.read_seconds())
    except TimeoutError:
        return replace(state, stop="out_of_time")
    return replace(state, generation=generation)


def _check_reply(run: str, *, waiting: bool, given: bool) -> None:
    if waiting and not given:
        raise SettingsError(f"Run {run!r} waits for a reply: pass it to resume(run, reply=…).")
    if given and not waiting:
        raise SettingsError(f"Run {run!r} waits for no reply: resume it without one.")


def recursion_limit(graph: CompiledRunGraph, max_rounds: int) -> int:
    """The most steps of a run: every node once a round, whatever the strategy's loop is."""
    return len(graph.nodes) * max_rounds + SPARE_STEPS


def _begin_with_rewrite(graph: RunGraph) -> None:
    """Puts the node `rewrite` between the start and what a strategy begins with."""
    add_nodes(graph, rewrite)
    for edge in [edge for edge in graph.edges if edge[0] == START]:
        graph.edges.remove(edge)
        graph.add_edge("rewrite", edge[1])
    if START in graph.branches:
        graph.branches["rewrite"] = graph.branches.pop(START)
    graph.add_edge(START, "rewrite")


def _with_context(function: NodeFunction) -> Callable[..., Awaitable[StateUpdate]]:
    name = function.__name__

    async def node(
        state: RunState | dict[str, Any], runtime: Runtime[RunContext], config: RunnableConfig
    ) -> StateUpdate:
        if isinstance(state, dict):  # of a branch that comes from a checkpoint
            state = RunState(**state)
        given = runtime.context
        run = replace(given, emit=_to_all(given, runtime.stream_writer))
        with within(_branch(name, state, config)) as branch:
            limit = run.ledger.seconds_left() + GRACE_SECONDS
            try:
                async with asyncio.timeout(limit):
                    update = await function(state, run)
            except Cancelled:
                update = StateUpdate(stop="cancelled")
            except TimeoutError as error:
                detail = str(error) or f"it had not ended after {limit:.3g} s"
                step = StepRecord(node=name, action="cut off", detail=detail)
                update = StateUpdate(stop="out_of_time", steps=(step,))
        known = StateUpdate(clock=branch.seconds, embedder_failure=branch.embedder_failure)
        return StateUpdate(**{**update, **known})

    return node


def _branch(name: str, state: RunState, config: RunnableConfig) -> Branch:
    """The branch of one call of a node; those that `Send` starts beside each other are numbered.

    It begins when the nodes before it had ended.
    """
    parent = current_branch()
    place = config.get("metadata", {}).get("langgraph_path", ())
    number = place[1:2] if place[:1] == ("__pregel_push",) else ()
    return Branch(
        name,
        (*parent.path, *number),
        max(parent.seconds, state.clock),
        state.embedder_failure or parent.embedder_failure,
    )


def _to_all(run: RunContext, writer: Callable[[Any], None]) -> Listener:
    """The run's listener, LangGraph's custom stream, and what keeps the streamed answer."""
    listeners = (run.streamed.hear, run.emit, writer)

    def emit(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return emit
