"""`pool`: hop until the evidence pool suffices (after RFM-RAG, arXiv 2508.17862).

Each round: search, quote the sentences that bear on the question, judge whether the evidence
suffices, write queries for what is missing. The loop ends when the evidence suffices, when two
rounds in a row add nothing, after `RunSettings.max_rounds`, or with the budget. Calls of a model:
2 R + 1 for R rounds, one more where it ends because no new query is found.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes, unless_stopped


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
