"""`auto`: as far as the question needs, by cheap signals first (after WiTQA, arXiv 2402.13492).

The question is searched once; its shape and what was found say `single` (answered from that),
`multi_hop` (the loop of `pool` goes on from it), or disagree: then an assessor decides whether the
evidence suffices. An answer of `single` that does not hold goes into the loop too, and a loop that
ends without enough searches the corpus tree, where the store has one. What is plainly a sum or
small talk is not searched. The reasons are in the receipt, under the node `route`.

Calls of a model: 1 for `single`; otherwise at most 2 R + 2 for R rounds, as `pool`, one more after
a first answer that did not hold, and the slates of the tree.
"""

from __future__ import annotations

from langgraph.graph import END, START

from hoptrail.agents import nodes
from hoptrail.agents.nodes.state import RunState
from hoptrail.agents.strategies.graph import RunGraph, add_nodes

_UNDONE = ("no_progress", "max_rounds")
"""Stop reasons of a loop that ran out of ways before the evidence was enough."""


def wire(graph: RunGraph) -> None:
    """Route → retrieve → refine → route → (answer | plan → `pool`'s loop → tree) → verify ↺."""
    add_nodes(graph, nodes.route, nodes.retrieve, nodes.refine, nodes.plan)
    add_nodes(graph, nodes.assess, nodes.next_query, nodes.navigate)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "route")
    graph.add_conditional_edges("route", _by_route, ["retrieve", "plan", "answer"])
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges("refine", _refined, ["route", "assess", "answer"])
    graph.add_conditional_edges("plan", _planned, ["retrieve", "assess", "next_query", "answer"])
    graph.add_conditional_edges("assess", _assessed, ["next_query", "navigate", "answer"])
    graph.add_conditional_edges("next_query", _queried, ["retrieve", "navigate", "answer"])
    graph.add_edge("navigate", "refine")
    graph.add_edge("answer", "verify")
    graph.add_conditional_edges("verify", _verified, ["route", "receipt"])
    graph.add_edge("receipt", END)


def _by_route(state: RunState) -> str:
    if state.stop is not None or state.route == "single":
        return "answer"
    return "plan" if state.route else "retrieve"


def _refined(state: RunState) -> str:
    if state.stop is not None:
        return "answer"
    return "assess" if state.route else "route"


def _planned(state: RunState) -> str:
    """The question was searched already; where the signals agree, nothing need be assessed."""
    if state.stop is not None:
        return "answer"
    if state.queries:
        return "retrieve"
    return "next_query" if state.route == "multi_hop" else "assess"


def _assessed(state: RunState) -> str:
    return "next_query" if state.stop is None else _ended(state)


def _queried(state: RunState) -> str:
    return "retrieve" if state.stop is None else _ended(state)


def _ended(state: RunState) -> str:
    return "navigate" if state.tree and state.stop in _UNDONE else "answer"


def _verified(state: RunState) -> str:
    """A first answer that does not hold is not the last: quotes may stand in its place."""
    answer = state.answer
    if state.route != "single" or state.stop is not None or answer is None:
        return "receipt"
    held = any(claim.verdict == "holds" for claim in answer.claims)
    dropped = any(claim.verdict == "dropped" for claim in answer.claims)
    failed = answer.abstains or answer.replaced or not held or (answer.extractive and dropped)
    return "route" if failed else "receipt"
