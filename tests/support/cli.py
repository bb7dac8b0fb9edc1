"""The command line as tests use it: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from support.chat_server import FakeServer
from typer.testing import CliRunner, Result

from hoptrail.app.cli.main import app
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Document, IndexedDocument, Passage, embedding_text, passage_id

COMMAND = (sys.executable, "-P", "-m", "hoptrail.app.cli.main")


def cli(*arguments: object) -> Result:
    """Runs a command here; quick, and what it raises beyond its own errors is raised."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], prog_name="hoptrail")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def error(*arguments: object, code: int = 1) -> str:
    """What a command that must fail says on stderr: one line."""
    result = cli(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


def process(
    *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own."""
    return subprocess.run(
        [*COMMAND, *(str(one) for one in arguments)],
        check=False, capture_output=True, text=True, timeout=timeout,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def records(output: str) -> list[dict[str, Any]]:
    """The lines of JSON in an output."""
    return [json.loads(line) for line in output.splitlines()]


def make_store(root: Path, texts: Mapping[str, str], *, tenant: str = "default") -> Path:
    """A store of one-passage documents under the hash embedder, id and title alike."""
    embedder = load_embedder("hash")
    spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension)
    puts = []
    for name, text in texts.items():
        passage = Passage(
            id=passage_id(name, 0, len(text)), document_id=name, start=0, end=len(text),
            title=name, text=text,
        )  # fmt: skip
        puts.append(
            IndexedDocument(
                document=Document(id=name, title=name, text=text, metadata={"n": len(puts)}),
                passages=[passage],
                vectors=embedder.embed([embedding_text(passage)]),
                fingerprint=name,
            )
        )
    with Store.create(root, spec, tenant=tenant) as store:
        store.commit(puts)
    return root


TEXTS = {
    "Nightjar": "The Nightjar was launched in 1894 at Quillane. She carried a spare lamp.",
    "Quillane": "Quillane is a harbour town on the Lissen Coast. It had 4,112 inhabitants in 1950.",
    "Altar": "Lars Omdrey carved the altar of Kjelde from driftwood and was paid in herring.",
}


RECORDS = {f"d{at}": f"Record {at} is about the harbour of Port {at}." for at in range(12)}
"""Documents of equal form, for trees."""


def stopped_twice(
    command: Iterable[object], server: FakeServer, first_said: str
) -> tuple[int, str]:
    """A build whose third question hangs, ended by two Ctrl-C; its exit code and last words."""
    child = subprocess.Popen(
        [*COMMAND, *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr is not None
    try:
        while len(server.chats) < 3 and child.poll() is None:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert first_said in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, told = child.communicate(timeout=60)
    finally:
        child.kill()
    return child.returncode, told
