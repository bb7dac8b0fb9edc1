"""Ask many questions of one open store at a time, and hear of each search as it is made.

    python examples/many_questions.py [--embedder hash]

`open_library` opens the store once for all of them; `aask` is the same door as `ask`, awaited.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from hoptrail.agents import KnowledgeBase, Receipt, aask, open_library
from hoptrail.agents.events import Event, QueryMade
from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.store.store import Store, StoreSpec

HERE = Path(__file__).parent
QUESTIONS = (
    "Who carved the altar of Kjelde?",
    "In which year was the Petrel Maid launched?",
    "Who led the Third Ulvra Expedition?",
)


def heard(event: Event) -> None:
    """Prints what is searched for; events of several questions interleave."""
    if isinstance(event, QueryMade):
        print(f"  searching: {event.query.text}")


async def ask_all(library: KnowledgeBase) -> list[Receipt]:
    """All questions at once."""
    return await asyncio.gather(
        *(aask(question, library, strategy="single", on_event=heard) for question in QUESTIONS)
    )


def made(folder: Path, embedder: Embedder) -> None:
    """Makes a store of the example world."""
    spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension)
    with Store.create(folder, spec) as store:
        ingest([HERE / "world" / "corpus.jsonl"], store, embedder)


def main() -> None:
    """Makes a store, asks, prints."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--embedder", default="minilm")
    embedder = load_embedder(options.parse_args().embedder)
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), embedder)
        with open_library(Path(folder), embedder=embedder) as library:
            for receipt in asyncio.run(ask_all(library)):
                best = receipt.evidence[0] if receipt.evidence else None
                print(receipt.question)
                print(f"  {receipt.outcome.kind}: {best.title if best else '-'}")


if __name__ == "__main__":
    main()
