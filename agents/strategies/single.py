"""`single`: search once, quote, answer, verify. Calls of a model: 1."""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → answer → verify → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_edge("refine", "answer")
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)
