"""The benchmark of the store, on a few passages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.datasets import write_set

from hoptrail.evals.benchmarks.store import __main__ as benchmark
from hoptrail.evals.benchmarks.store.synthetic import (
    DIMENSION,
    GivenVectors,
    SyntheticCorpus,
    unit,
)
from hoptrail.rag.embedders.hashing import HashEmbedder


def test_the_benchmark_times_the_store_the_graph_and_crashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = write_set(tmp_path / "set"), tmp_path / "built"
    folder.mkdir()
    benchmark.main(
        [
            *("--passages", "400", "--batch", "100", "--kills", "1", "--graph", str(data)),
            *("--folder", str(folder), "--json"),
        ]
    )
    store, graph, kills = map(json.loads, capsys.readouterr().out.splitlines())
    assert (store["bench"], store["passages"]) == ("store", 400)
    assert 0 < store["hybrid_p50"] <= store["hybrid_p95"]
    assert store["ratio"] == pytest.approx(store["hybrid_p50"] / store["bare_p50"], rel=0.02)
    assert min(store["open_seconds"], store["peak_mb"], store["disk_mb"]) > 0
    assert (graph["bench"], graph["passages"]) == ("graph", 400)
    assert graph["share"] == pytest.approx(graph["graph_mb"] / graph["plain_mb"], abs=0.05)
    assert kills["trials"] == 1
    assert (kills["lost"], kills["torn"], kills["unclean"]) == (0, 0, 0)
    assert list(folder.iterdir()) == []


def test_given_vectors_are_returned_for_queries_and_hashes_for_other_texts() -> None:
    corpus = SyntheticCorpus(40)
    query = corpus.query(corpus.document(0))
    found = GivenVectors([query]).embed([query.text, "another text"], "query")
    assert found.shape == (2, DIMENSION)
    assert np.array_equal(found[0], query.vector)
    assert np.array_equal(found[1], HashEmbedder(DIMENSION).embed(["another text"])[0])
    assert np.array_equal(unit(np.array([[3.0, 4.0]])), np.array([[0.6, 0.8]], dtype=np.float32))
