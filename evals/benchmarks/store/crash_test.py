"""Crash test of the store: kills a writer with SIGKILL, then checks every acknowledged document.

python -m hoptrail.evals.benchmarks.store --passages "" --kills 30
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from hoptrail.evals.benchmarks.store.crash_writer import SPEC, version
from hoptrail.rag.fsck import FsckReport, fsck
from hoptrail.rag.store.store import Store, StoreSpec

WRITER = "hoptrail.evals.benchmarks.store.crash_writer"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashTrial:
    """One kill of the writer and the state of the store after it."""

    acknowledged: int
    """Versions of documents whose commit had returned before the kill."""
    lost: int
    """Documents older than their last acknowledged version."""
    torn: int
    """Documents of which catalogue, words and vectors disagree."""
    report: FsckReport


def trials(root: Path, count: int, *, seed: int = 0, spec: StoreSpec = SPEC) -> list[CrashTrial]:
    """Kills a writer `count` times on one store, which is kept from trial to trial."""
    source = random.Random(seed)
    Store.create(root, spec).close()
    acknowledged: dict[str, int] = {}
    return [_trial(root, acknowledged, number, source) for number in range(count)]


def _trial(
    root: Path, acknowledged: dict[str, int], number: int, source: random.Random
) -> CrashTrial:
    tried, count = _killed(root, acknowledged, seed=number, delay=source.uniform(0.02, 0.8))
    lost = torn = 0
    with Store.open(root) as store:
        present = store.fingerprints()
        for name, least in acknowledged.items():
            found = int(present.get(name, 0))
            lost += found < least
            torn += not _whole(store, name, found)
            assert found <= max(tried.get(name, 0), least), (
                "The store has a version that was never written."
            )
            # What was in flight may have been committed without its line being printed.
            acknowledged[name] = max(found, least)
    return CrashTrial(acknowledged=count, lost=lost, torn=torn, report=fsck(root))


def _killed(
    root: Path, acknowledged: dict[str, int], seed: int, delay: float
) -> tuple[dict[str, int], int]:
    """Runs a writer and kills it `delay` seconds after its first line.

    Returns:
        The last version of each document that the writer tried, and the number of acknowledged
        versions.
    """
    command = [sys.executable, "-P", "-m", WRITER, str(root), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        assert first.startswith("ready"), first
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        lines = [line.split() for line in child.stdout if line.endswith("\n")]
    # A writer that failed by itself would have proved nothing.
    assert child.returncode == -signal.SIGKILL, f"the writer ended with {child.returncode}"
    tried: dict[str, int] = {}
    for word, name, number in lines:
        (tried if word == "try" else acknowledged)[name] = int(number)
    return tried, sum(word == "done" for word, _, _ in lines)


def _whole(store: Store, name: str, number: int) -> bool:
    """Whether catalogue, words and vectors hold exactly version `number` of a document."""
    wanted = version(name, number)
    passages = store.passages_of(name)
    if passages != tuple(wanted.passages) or store.document(name) != wanted.document:
        return False
    for passage, vector in zip(wanted.passages, wanted.vectors, strict=True):
        nearest = store.resolve(store.dense(vector, 1).rows)[0]
        if nearest != passage:
            return False
    # One word, the document's name, stands in the title of all its passages and nowhere else.
    found = store.resolve(store.lexical(name.rsplit("-", maxsplit=1)[-1], 10_000).rows)
    named = {one.id for one in found if one is not None and one.document_id == name}
    return named == {one.id for one in wanted.passages}
