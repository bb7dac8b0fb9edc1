"""Record a run, delete the store, run it again from the recording, and compare the receipts.

    python examples/replay.py [--embedder hash]

A recording holds all that a run took from outside its own code, so the replay needs no store, no
embedder and no model.
"""

import argparse
import tempfile
from pathlib import Path

from hoptrail.agents import ask, replay
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.store.store import Store, StoreSpec

HERE = Path(__file__).parent


def main() -> None:
    """Records, deletes, replays."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--embedder", default="minilm")
    embedder = load_embedder(options.parse_args().embedder)
    question = (HERE / "question.txt").read_text().strip()

    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "run.jsonl"
        with tempfile.TemporaryDirectory() as place:
            spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension)
            with Store.create(Path(place), spec) as store:
                ingest([HERE / "world" / "corpus.jsonl"], store, embedder)
            receipt = ask(question, place, embedder=embedder, record=recording)

        again = replay(recording)

    print(f"{receipt.usage.searches} searches, {len(receipt.evidence)} quotes")
    print("the same receipt" if again.same else f"another receipt: {again.difference}")
    assert again.receipt.canonical() == receipt.canonical()


if __name__ == "__main__":
    main()
