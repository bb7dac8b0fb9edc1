"""Processes that are killed, and processes that write and read together."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from hoptrail.evals.benchmarks.store.crash_test import WRITER, trials
from hoptrail.evals.benchmarks.store.crash_writer import SPEC, version
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store

PATIENCE = 120.0


def test_a_killed_writer_loses_nothing_it_had_acknowledged(tmp_path: Path) -> None:
    done = trials(tmp_path / "store", 5)
    assert len(done) == 5
    assert sum(one.acknowledged for one in done) > 0
    assert [(one.lost, one.torn, one.report.problems) for one in done] == [(0, 0, ())] * 5


def test_a_killed_writer_leaves_chroma_consistent_through_its_outbox(tmp_path: Path) -> None:
    spec = replace(SPEC, lexical="rank-bm25", dense="chroma")
    done = trials(tmp_path / "store", 2, seed=5, spec=spec)
    assert sum(one.acknowledged for one in done) > 0
    assert [(one.lost, one.torn, one.report.problems) for one in done] == [(0, 0, ())] * 2


def test_two_writers_and_a_reader_as_processes(tmp_path: Path) -> None:
    """The reader sees every commit as it is acknowledged, whole, and nobody gets an error."""
    Store.create(tmp_path, SPEC).close()
    turns = 12
    writers = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", WRITER, str(tmp_path), str(seed), str(turns)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    seen: set[int] = set()
    started = time.monotonic()
    with Store.open(tmp_path) as reader:
        while any(writer.poll() is None for writer in writers):
            assert time.monotonic() - started < PATIENCE
            generation = reader.generation
            assert generation >= max(seen, default=0)
            seen.add(generation)
            for name, fingerprint in reader.fingerprints().items():
                for passage in reader.passages_of(name):
                    assert passage.document_id == name
                assert int(fingerprint) >= 1
            found = reader.lexical("part met", 30)
            assert len(found.rows) == len(reader.resolve(found.rows))
        said = [writer.communicate() for writer in writers]
        assert [writer.returncode for writer in writers] == [0, 0], said
        assert reader.generation == 2 * turns
        acknowledged = dict(
            line.split()[1:] for out, _ in said for line in out.splitlines() if line[:4] == "done"
        )
        assert reader.fingerprints() == acknowledged
        for name, number in acknowledged.items():
            assert reader.passages_of(name) == tuple(version(name, int(number)).passages)
    assert fsck(tmp_path).clean


def test_a_reader_sees_each_acknowledged_version_at_once(tmp_path: Path) -> None:
    Store.create(tmp_path, SPEC).close()
    command = [sys.executable, "-P", "-m", WRITER, str(tmp_path), "3", "8"]
    seen = 0
    with Store.open(tmp_path) as reader:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for line in writer.stdout:
                word, *rest = line.split()
                if word == "done":
                    assert int(reader.fingerprints()[rest[0]]) >= int(rest[1])
                    named = reader.resolve(reader.lexical(rest[0].split("-")[1], 500).rows)
                    assert rest[0] in {one.document_id for one in named if one is not None}
                    seen += 1
        assert writer.returncode == 0
    assert seen >= 8
