"""Ask many questions of one knowledge base at a time.

    python examples/many_questions.py [--embedder hash]

`aask` is `ask` for asynchronous code. Questions that run beside each other share the store.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from hoptrail import Budget, KnowledgeBase, Receipt

CORPUS = Path(__file__).parent / "world" / "corpus.jsonl"
QUESTIONS = (
    "Who carved the altar of Kjelde?",
    "In which year was the Petrel Maid launched?",
    "Who led the Third Ulvra Expedition?",
)


async def ask_all(kb: KnowledgeBase) -> list[Receipt]:
    """All questions at once, each within its own budget."""
    budget = Budget(searches=12)
    return await asyncio.gather(
        *(kb.aask(question, strategy="single", budget=budget) for question in QUESTIONS)
    )


def main(embedder: str) -> None:
    """Makes a store, asks, prints."""
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.create(folder, embedder=embedder) as kb,
    ):
        kb.ingest(CORPUS)
        for receipt in asyncio.run(ask_all(kb)):
            best = receipt.evidence[0].title if receipt.evidence else "-"
            print(f"{receipt.question}\n  {receipt.outcome.kind}: {best}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embedder", default="minilm")
    main(options.parse_args().embedder)
