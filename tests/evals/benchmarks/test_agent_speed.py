"""The benchmark of a question without a model, on two questions and the hash embedder."""

from __future__ import annotations

from pathlib import Path

from hoptrail.evals.benchmarks.agents.speed import STRATEGIES, measure
from hoptrail.rag.embedders.hashing import HashEmbedder

QUESTIONS = ("Who kept the log?", "Where is the mill?", "When?", "Who built the Hestor Pell?")


def test_it_measures_ingest_questions_and_commands(tmp_path: Path) -> None:
    report = measure(tmp_path / "store", QUESTIONS, HashEmbedder(), calls=1)
    assert report.ingest.with_sentences_per_second < report.ingest.passages_per_second
    assert report.ingest.with_sentences_bytes > report.ingest.bytes_per_passage
    assert tuple(one.strategy for one in report.asks) == STRATEGIES
    for one in report.asks:
        assert one.searches >= 1
        assert one.ratio == one.cost.cpu / report.search.cpu > 0
        assert 0 <= one.embedding < 1
    assert report.command.ask.cpu > 0
    assert report.command.imports.wall > 0
