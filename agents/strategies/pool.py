"""`pool`: hop until the evidence pool suffices (after RFM-RAG, arXiv 2508.17862).

The loop is `methods.md` 4.2 without bindings and contradictions: what must be known is listed,
each round's passages are distilled into quotes, the pool is judged, and the next queries name what
is missing.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.graph import RunGraph, add_nodes, unless_stopped


def wire(graph: RunGraph) -> None:
    """Plan → retrieve → refine → assess → (next query ↺ | answer) → verify → receipt."""
    add_nodes(graph, nodes.plan, nodes.retrieve, nodes.refine, nodes.assess, nodes.next_query)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "plan")
    graph.add_edge("plan", "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges("refine", unless_stopped("assess"), ["assess", "answer"])
    graph.add_conditional_edges("assess", unless_stopped("next_query"), ["next_query", "answer"])
    graph.add_conditional_edges("next_query", unless_stopped("retrieve"), ["retrieve", "answer"])
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)
