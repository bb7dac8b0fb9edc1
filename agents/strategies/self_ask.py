"""`self-ask`: follow-up questions, each searched and answered, until none is needed.

After arXiv 2210.03350 (Press et al.), with a search for each question as there.
The intermediate answers stand in the prompt of the next follow-up question; the last answer is
read from all passages. Calls of a model: 2 F + 2 for F follow-up questions, one less where
`RunSettings.max_rounds` ends the loop.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.nodes.state import RunState
from hoptrail.agents.strategies.graph import RunGraph, add_nodes, unless_stopped


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → (answer the follow-up →) follow up → (retrieve ↺ | answer) → verify."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.follow_up, nodes.answer_follow_up)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges("refine", _onward, ["follow_up", "answer_follow_up", "answer"])
    graph.add_conditional_edges(
        "answer_follow_up", unless_stopped("follow_up"), ["follow_up", "answer"]
    )
    graph.add_conditional_edges("follow_up", unless_stopped("retrieve"), ["retrieve", "answer"])
    graph.add_edge("answer", "verify")
    graph.add_edge("verify", "receipt")
    graph.add_edge("receipt", END)


def _onward(state: RunState) -> str:
    """The first round searched the question itself; each further one, a follow-up question."""
    if state.stop is not None:
        return "answer"
    return "answer_follow_up" if state.round > 1 else "follow_up"
