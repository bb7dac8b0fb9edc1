"""`ircot`: one sentence of reasoning, one search, and so on (IRCoT, arXiv 2212.10509).

The sentence is the query; the loop ends with the sentence that says the answer, with a sentence
that was said before, or after `RunSettings.max_rounds`. The answer is then read from all passages.
Calls of a model: R + 1 for R rounds, one less where `RunSettings.max_rounds` ends the loop.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.strategies.graph import RunGraph, add_nodes, unless_stopped


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → think → (retrieve ↺ | answer) → verify → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.think)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges("refine", unless_stopped("think"), ["think", "answer"])
    graph.add_conditional_edges("think", unless_stopped("retrieve"), ["retrieve", "answer"])
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)
