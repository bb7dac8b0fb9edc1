"""Benchmark of the graph itself: what a node costs when it does nothing.

    python -m hoptrail.evals.benchmarks.agents.overhead [--nodes 19] [--times 20] [--json]

A strategy of nodes that each add one step is run without and with checkpoints. Wanted: less than
1.5 ms of CPU a node without, 4 ms with them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from langgraph.graph import END, START

from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import Roles
from hoptrail.agents.runs.checkpoints import saver
from hoptrail.agents.runs.intercepted import NotInReplay
from hoptrail.agents.strategies.graph import (
    NodeFunction,
    RunGraph,
    Strategy,
    add_nodes,
    compiled_graph,
    with_saver,
)
from hoptrail.agents.types import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCost:
    """Milliseconds of CPU and wall time a node."""

    nodes: int
    plain_cpu_ms: float
    plain_wall_ms: float
    kept_cpu_ms: float
    """With a checkpoint after every node."""
    kept_wall_ms: float


def node_cost(nodes: int, times: int) -> NodeCost:
    """What a node costs, as the mean of `times` runs of `nodes` nodes."""
    idle = Strategy(name="idle", wire=_wired([_node(number) for number in range(nodes)]))

    async def plain() -> None:
        await compiled_graph(idle).ainvoke(RunState(question="?"), context=_context())

    async def kept() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with saver(Path(folder) / "state.db") as opened:
                graph = with_saver(compiled_graph(idle), opened)
                config: Any = {"configurable": {"thread_id": "run"}, "recursion_limit": nodes + 5}
                state = RunState(question="?")
                await graph.ainvoke(state, config, context=_context(), durability="sync")

    (plain_cpu, plain_wall), (kept_cpu, kept_wall) = (
        asyncio.run(_timed(one, times)) for one in (plain, kept)
    )
    return NodeCost(
        nodes=nodes,
        plain_cpu_ms=plain_cpu / nodes,
        plain_wall_ms=plain_wall / nodes,
        kept_cpu_ms=kept_cpu / nodes,
        kept_wall_ms=kept_wall / nodes,
    )


async def _timed(run: Callable[[], Awaitable[None]], times: int) -> tuple[float, float]:
    """Milliseconds of CPU and wall time a run, once it is warm."""
    await run()
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        await run()
    spent = time.process_time() - cpu, time.perf_counter() - wall
    return spent[0] / times * 1000, spent[1] / times * 1000


def _node(number: int) -> NodeFunction:
    async def node(state: RunState, run: RunContext) -> StateUpdate:
        return StateUpdate(steps=(StepRecord(node="idle", action="did nothing"),))

    node.__name__ = f"node_{number}"
    return node


def _wired(functions: Sequence[NodeFunction]) -> Callable[[RunGraph], None]:
    def wire(graph: RunGraph) -> None:
        add_nodes(graph, *functions)
        order = [START, *(function.__name__ for function in functions), END]
        for one, other in itertools.pairwise(order):
            graph.add_edge(one, other)

    return wire


def _context() -> RunContext:
    return RunContext(
        question="?",
        strategy="idle",
        model="",
        corpus=cast(Corpus, NotInReplay()),
        roles=cast(Roles, NotInReplay()),
        ledger=Ledger.open(None, Budget()),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures as the arguments say and prints what a node costs; returns the exit code."""
    parser = argparse.ArgumentParser(description="What a node of the graph costs.")
    parser.add_argument("--nodes", type=int, default=19)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    cost = node_cost(options.nodes, options.times)
    if options.json:
        sys.stdout.write(json.dumps(asdict(cost)) + "\n")
        return 0
    lines = (
        f"{cost.nodes} nodes, ms a node",
        f"without checkpoints  {cost.plain_cpu_ms:.2f} CPU, {cost.plain_wall_ms:.2f} wall",
        f"with checkpoints     {cost.kept_cpu_ms:.2f} CPU, {cost.kept_wall_ms:.2f} wall",
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
