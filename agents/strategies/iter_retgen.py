"""`iter-retgen`: answer, search with the answer, answer again (Iter-RetGen, arXiv 2305.15294).

    query_1 = q; query_t = y_(t-1) q; D_t = the passages of query_t; y_t = the answer from D_t

`y` is the whole output, claims and all: it carries the names on the way into the next query. Only
D_t is in context, never the passages of earlier rounds. The paper's T is `RunSettings.iterations`;
with T = 1 this is `single`. Calls of a model: at most T.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.nodes.state import RunState
from hoptrail.agents.strategies.graph import RunGraph, add_nodes


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → answer → (feed back ↺) → verify → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.answer, nodes.feed_back)
    add_nodes(graph, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_edge("refine", "answer")
    graph.add_edge("answer", "feed_back")
    graph.add_conditional_edges("feed_back", _until_stopped, ["retrieve", "verify"])
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


def _until_stopped(state: RunState) -> str:
    return "retrieve" if state.stop is None else "verify"
