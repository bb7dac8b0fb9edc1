"""`monologue`: thoughts and queries by turns, until nothing is missing (IM-RAG, arXiv 2405.13021).

Without the paper's training, that is, with prompts in the place of its adapters.

Questioner: a thought and the next query, or none. Refiner: the passages of the query, their best
sentences. Progress tracker: how many facts are missing; two turns that bring none end the loop, as
does nothing missing. Answerer: the whole of it. Calls of a model: at most 2 R + 1 for R rounds.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes, unless_stopped


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → track → ask next → (retrieve ↺ | answer) → verify → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.track, nodes.ask_next)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges("refine", unless_stopped("track"), ["track", "answer"])
    graph.add_conditional_edges("track", unless_stopped("ask_next"), ["ask_next", "answer"])
    graph.add_conditional_edges("ask_next", unless_stopped("retrieve"), ["retrieve", "answer"])
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)
