"""Ingest documents and ask them a question.

    python examples/ask.py [--embedder hash]

Runs offline: no model, no server. The store lies in a temporary folder.
"""

import argparse
import tempfile
from pathlib import Path

from hoptrail import KnowledgeBase

HERE = Path(__file__).parent


def main(embedder: str) -> None:
    """Ingests, asks, checks each quote against its document, prints."""
    question = (HERE / "question.txt").read_text("utf-8").strip()
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.create(folder, embedder=embedder) as kb,
    ):
        report = kb.ingest(HERE / "world" / "corpus.jsonl")
        receipt = kb.ask(question)

        print(f"{report.added} documents, {report.passages} passages")
        print(receipt.question)
        for item in receipt.evidence:
            document = kb.store.document(item.document_id)
            assert document is not None
            assert document.text[item.start : item.end] == item.quote
            print(f"- {item.title} [{item.start}:{item.end}]: {item.quote!r}")
        print(f"{receipt.outcome.kind}, {receipt.stop}, {receipt.usage.searches} searches")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embedder", default="minilm")
    main(options.parse_args().embedder)
