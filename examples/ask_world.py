"""Ask the example world a question, and check every quote of the answer against its document.

    python examples/ask_world.py ["a question"] [--embedder hash]

Runs offline: no model, no server. The store lies in a temporary folder.
"""

import argparse
import tempfile
from pathlib import Path

from hoptrail.agents import Budget, ask
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.store.store import Store, StoreSpec

HERE = Path(__file__).parent


def main() -> None:
    """Ingests, asks, checks, prints."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("question", nargs="?", default=(HERE / "question.txt").read_text().strip())
    options.add_argument("--embedder", default="minilm")
    given = options.parse_args()

    embedder = load_embedder(given.embedder)
    with tempfile.TemporaryDirectory() as folder:
        spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension)
        with Store.create(Path(folder), spec) as store:
            report = ingest([HERE / "world" / "corpus.jsonl"], store, embedder)
            print(f"{report.added} documents, {report.passages} passages")

        receipt = ask(given.question, folder, embedder=embedder, budget=Budget(searches=24))

        print(receipt.question)
        with Store.open(Path(folder)) as store:
            for claim in receipt.claims:
                for item in receipt.evidence:
                    if item.id in claim.evidence:
                        document = store.document(item.document_id)
                        assert document is not None
                        assert document.text[item.start : item.end] == item.quote
                        print(f"- {item.title} [{item.start}:{item.end}]: {item.quote!r}")
    print(f"{receipt.outcome.kind}, {receipt.stop}, {receipt.usage.searches} searches")


if __name__ == "__main__":
    main()
