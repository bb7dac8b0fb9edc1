"""Show what a run does while it does it, as a chat backend would.

    python examples/events.py [--embedder hash]

`on_event` is called with each event in the order in which things happen.
"""

import argparse
import tempfile
from pathlib import Path

from hoptrail import KnowledgeBase
from hoptrail.agents.events import AnswerDelta, Event, EvidenceAdded, HitsFound, QueryMade

HERE = Path(__file__).parent


def show(event: Event) -> None:
    """One line an event; the answer's text as it is written."""
    match event:
        case QueryMade(query=query):
            print(f"searching: {query.text}")
        case HitsFound(count=count, titles=titles):
            print(f"  {count} passages, first of {titles[0] if titles else '-'}")
        case EvidenceAdded(evidence=evidence):
            print(f"  quoting {evidence.title}")
        case AnswerDelta(text=text):
            print(text)


def main(embedder: str) -> None:
    """Makes a store, asks, and shows each event."""
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.create(folder, embedder=embedder) as kb,
    ):
        kb.ingest(HERE / "world" / "corpus.jsonl")
        kb.ask((HERE / "question.txt").read_text("utf-8").strip(), on_event=show)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embedder", default="minilm")
    main(options.parse_args().embedder)
