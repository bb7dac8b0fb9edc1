"""`lattice`: search, then search the corpus tree from the hits (LATTICE, arXiv 2510.13217).

The hits of cheap retrieval are seeds of the tree search, and the result if the budget ends first;
the hits and the leaves found are fused, then read. A store without a tree gets one, built without
a model. Calls of a model: 1 + S for S slates of the tree search.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.nodes.state import RunState
from hoptrail.agents.nodes.tree_navigator import navigate
from hoptrail.agents.strategies.graph import RunGraph, add_nodes


def wire(graph: RunGraph) -> None:
    """Retrieve → navigate → refine → answer → verify → receipt."""
    add_nodes(graph, nodes.retrieve, navigate, nodes.refine)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_conditional_edges("retrieve", _while_budget_lasts, ["navigate", "refine"])
    graph.add_edge("navigate", "refine")
    graph.add_edge("refine", "answer")
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


def _while_budget_lasts(state: RunState) -> str:
    return "navigate" if state.stop is None else "refine"
