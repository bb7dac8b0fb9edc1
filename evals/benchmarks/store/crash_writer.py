"""Writer process of the crash test: replaces documents until killed, printing each acknowledgement.

    python -m hoptrail.evals.benchmarks.store.crash_writer STORE SEED [TURNS]

Before a commit it prints `try ID VERSION`, after it `done ID VERSION`, one line a document. What a
version looks like follows from its id and number alone, so that the crash test can tell a whole
document from a torn one.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np

from hoptrail.evals.benchmarks.store.synthetic import unit
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Document, IndexedDocument, Passage, passage_id

DOCUMENTS = 12
SPEC = StoreSpec(embedder="kill", dimension=16)


def version(identifier: str, number: int) -> IndexedDocument:
    """Document in version `number`: 1 to 20 passages that all mention its id."""
    source = random.Random(f"{identifier}/{number}")
    text, passages = "", []
    for part in range(source.randint(1, 20)):
        body = f"Part {part} of {identifier} version{number} met {source.choice('xyz')}{part}."
        start, end = len(text), len(text) + len(body)
        passages.append(
            Passage(
                id=passage_id(identifier, start, end),
                document_id=identifier,
                start=start,
                end=end,
                title=identifier,
                text=body,
            )
        )
        text += f"{body} "
    noise = np.random.default_rng(source.getrandbits(32)).normal(
        size=(len(passages), SPEC.dimension)
    )
    return IndexedDocument(
        document=Document(
            id=identifier, title=identifier, text=text, metadata={"even": number % 2 == 0}
        ),
        passages=passages,
        vectors=unit(noise),
        fingerprint=str(number),
    )


def main(root: Path, seed: int, turns: int | None) -> None:
    """Replaces documents until killed, or for a number of turns."""
    source = random.Random(seed)
    with Store.open(root) as store:
        written = {key: int(value) for key, value in store.fingerprints().items()}
        print_line(f"ready {seed}")
        while turns is None or turns > 0:
            turns = None if turns is None else turns - 1
            # Writers with different seeds own different documents.
            chosen = source.sample(range(DOCUMENTS), source.randint(1, 3))
            names = [f"document{seed % 7}-{number}" for number in chosen]
            batch = [(name, written.get(name, 0) + 1) for name in names]
            for name, number in batch:
                print_line(f"try {name} {number}")
            store.commit([version(name, number) for name, number in batch])
            for name, number in batch:
                written[name] = number
                print_line(f"done {name} {number}")


def print_line(line: str) -> None:
    """Prints a line and flushes it: a buffered line would be lost with the process."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
