"""`pool`: hop until the evidence pool suffices (after RFM-RAG, arXiv 2508.17862).

The question is taken apart into triples with variables: (Heron, first master, ?x1), (?x1, born,
?ans). Each round: search, quote the sentences that bear on the question, find values of the
variables in them, write queries for what has none. A value counts once a quote has it word for
word; it takes the place of its variable in the next queries, none of which repeats an earlier one.
Values that exclude each other are all kept, and the receipt says so. A question without such
triples is planned and judged by needs, in words.

The loop ends when every variable has a value (`sufficient`); when two rounds in a row add neither
evidence nor a value, a round finds nothing to read, or no new query is left (`no_progress`); after
`RunSettings.max_rounds` (`max_rounds`); or with the budget. Without a model, rules find values
that the receipt shows; the loop is then that of needs. Calls of a model: 2 R + 1 for R rounds, one
more where it ends because no new query is found.
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
