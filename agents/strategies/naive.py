"""`naive`: search once, show the best passages to the reader, take its answer as it is.

The baseline of every other strategy. Calls of a model: 1. Nothing is verified: the receipt quotes
the sentences that contain the answer, where there are any.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes


def wire(graph: RunGraph) -> None:
    """Retrieve → read → answer briefly → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.read, nodes.answer_briefly, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "read")
    graph.add_edge("read", "answer_briefly")
    graph.add_edge("answer_briefly", "receipt")
    graph.add_edge("receipt", END)
