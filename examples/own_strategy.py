"""A strategy of your own: search, read, and search once more for the names that were read.

    python examples/own_strategy.py [--embedder hash]

A strategy is a name and a function that wires nodes into a LangGraph graph.
"""

import argparse
import tempfile
from pathlib import Path

from langgraph.graph import END, START

from hoptrail import KnowledgeBase
from hoptrail.agents import nodes
from hoptrail.agents.strategies import RunGraph, Strategy, add_nodes

HERE = Path(__file__).parent


def wire(graph: RunGraph) -> None:
    """Retrieve → refine → next query → retrieve → refine → answer → verify → receipt."""
    add_nodes(graph, nodes.retrieve, nodes.refine, nodes.next_query)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    graph.add_edge(START, "retrieve")
    graph.add_edge("retrieve", "refine")
    graph.add_conditional_edges(
        "refine", lambda state: "next_query" if state.round == 1 else "answer"
    )
    graph.add_conditional_edges("next_query", lambda state: "answer" if state.stop else "retrieve")
    for before, after in (("answer", "verify"), ("verify", "receipt"), ("receipt", END)):
        graph.add_edge(before, after)


def main(embedder: str) -> None:
    """Makes a store, asks by the strategy, prints its steps."""
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.create(folder, embedder=embedder) as kb,
    ):
        kb.ingest(HERE / "world" / "corpus.jsonl")
        question = (HERE / "question.txt").read_text("utf-8").strip()
        receipt = kb.ask(question, strategy=Strategy(name="two-rounds", wire=wire))
    print(" → ".join(dict.fromkeys(f"{step.node}" for step in receipt.steps)))
    print(f"{receipt.strategy}: {receipt.rounds} rounds, {len(receipt.evidence)} quotes")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embedder", default="minilm")
    main(options.parse_args().embedder)
