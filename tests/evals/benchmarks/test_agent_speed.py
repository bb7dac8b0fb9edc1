"""The benchmark of a question without a model, on two questions and the hash embedder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.evals.benchmarks.agents import overhead
from hoptrail.evals.benchmarks.agents.in_flight import in_flight
from hoptrail.evals.benchmarks.agents.speed import STRATEGIES, WORLD, measure
from hoptrail.rag.embedders.hashing import HashEmbedder

QUESTIONS = ("Who kept the log?", "Where is the mill?", "When?", "Who built the Hestor Pell?")


def test_it_measures_ingest_questions_and_commands(tmp_path: Path) -> None:
    report = measure(tmp_path / "store", QUESTIONS, HashEmbedder(), calls=1)
    assert report.ingest.with_sentences_bytes > report.ingest.bytes_per_passage
    assert tuple(one.strategy for one in report.asks) == STRATEGIES
    for one in report.asks:
        assert one.searches >= 1
        assert one.ratio == one.cost.cpu / report.search.cpu > 0
        assert 0 <= one.embedding < 1
    assert report.command.ask.cpu > 0
    assert report.command.imports.wall > 0


def test_the_cost_of_a_node_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert overhead.main(["--nodes", "3", "--times", "1", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert cost["nodes"] == 3
    assert cost["plain_cpu_ms"] > 0
    assert cost["kept_cpu_ms"] > 0


def test_questions_in_flight_are_measured_by_the_calls_they_make(tmp_path: Path) -> None:
    with KnowledgeBase.create(tmp_path / "store", embedder=HashEmbedder()) as knowledge:
        knowledge.ingest(WORLD / "corpus.jsonl", sentences=False)
        found = asyncio.run(in_flight(knowledge, QUESTIONS[2:], at_once=2, latency=0.01))
    assert found.calls >= 3
    assert found.latency_allows == pytest.approx(2 / (found.calls * 0.01))
    assert found.share == pytest.approx(found.per_second / found.latency_allows)
    assert 0 < found.memory_kb < 2000
    assert sum(found.stops.values()) == 2
