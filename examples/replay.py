"""Record a run, delete the store, run it again from the recording, and compare the receipts.

    python examples/replay.py [--embedder hash]

A recording holds all that a run took from outside its own code, so the replay needs no store, no
embedder and no model.
"""

import argparse
import tempfile
from pathlib import Path

from hoptrail import KnowledgeBase, replay

HERE = Path(__file__).parent


def main(embedder: str) -> None:
    """Records, deletes, replays."""
    question = (HERE / "question.txt").read_text("utf-8").strip()
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "run.jsonl"
        with (
            tempfile.TemporaryDirectory() as place,
            KnowledgeBase.create(place, embedder=embedder) as kb,
        ):
            kb.ingest(HERE / "world" / "corpus.jsonl")
            receipt = kb.ask(question, record=recording)
        again = replay(recording)

    print(f"{receipt.usage.searches} searches, {len(receipt.evidence)} quotes")
    print("the same receipt" if again.same else f"another receipt: {again.difference}")
    assert again.receipt.canonical() == receipt.canonical()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embedder", default="minilm")
    main(options.parse_args().embedder)
