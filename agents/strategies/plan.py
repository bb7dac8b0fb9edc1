"""`plan`: the whole plan at once, then its steps side by side (after REAPER, arXiv 2407.18553).

One call writes the steps: a question, a source and a query each, which may refer to the answers of
earlier steps. Steps that wait for nothing are searched beside each other; a reader answers those
that others refer to, and the last ones, with a quote that stands in a passage. If a step comes to
nothing there is one more plan, with what was found; then what needs its answer is left out. The
answer is read from all passages. Each round is a wave of steps, `RunSettings.max_rounds` at most.

Calls of a model: 2 + S for S steps that are read, one more for a second plan; a plan of one step
has S = 0.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes


def wire(graph: RunGraph) -> None:
    """Plan steps → (search step ∥ → read steps) ↺ → answer → verify → receipt."""
    add_nodes(graph, nodes.plan_steps, nodes.search_step, nodes.read_steps)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "plan_steps")
    graph.add_conditional_edges("plan_steps", nodes.next_steps, ["search_step", "answer"])
    graph.add_edge("search_step", "read_steps")
    graph.add_conditional_edges(
        "read_steps", nodes.next_steps, ["search_step", "plan_steps", "answer"]
    )
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)
