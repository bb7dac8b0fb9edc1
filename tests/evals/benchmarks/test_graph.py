"""The measurements of the passage graph, on a set of a few records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.datasets import write_set

from hoptrail.evals.benchmarks.graph import __main__ as graph
from hoptrail.evals.benchmarks.graph.ablation import systems
from hoptrail.evals.benchmarks.graph.cost import cost
from hoptrail.evals.benchmarks.graph.synthetic_names import NAMES, NamedCorpus
from hoptrail.evals.benchmarks.graph.variants import prepare_variant, recorded
from hoptrail.evals.store_cache import StoreCache
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.entities.extraction import mentioned_entities


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with a recording of another system that finds the first support of each."""
    made = tmp_path / "data" / "chain"
    write_set(made)
    questions = [json.loads(line) for line in (made / "questions.jsonl").open()]
    lines = [
        {"question_id": one["id"], "retrieved_ids": one["supporting_ids"][:1]} for one in questions
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (made / "llm_other.jsonl").write_text(text)
    return made


def lines_of(
    folder: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> list[dict[str, object]]:
    cache = str(folder.parent.parent / "cache")
    asked = [str(folder.parent), "--sets", "chain", "--embedder", "hash", "--store-cache", cache]
    assert graph.main([*asked, *more, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_quality_has_every_mode_and_the_recorded_system(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lines_of(folder, capsys, "--quality", "--variants", "whole")
    assert [one["system"] for one in found] == [
        "BM25",
        "dense",
        "hybrid",
        "graph",
        "recorded",
        "graph, same questions",
    ]
    theirs, ours = found[-2:]
    assert theirs["questions"] == ours["questions"] == found[0]["questions"]
    assert theirs["recall_2"] == theirs["recall_5"]
    assert (theirs["recall_10"], theirs["ms"]) == (None, None)
    assert {**ours, "ms": 0, "system": ""} == {**found[3], "ms": 0, "system": ""}
    for one in found:
        assert 0 <= float(str(one["recall_2"])) <= float(str(one["recall_5"])) <= 100


def test_the_table_has_a_line_for_each_mode(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = str(folder.parent.parent / "cache")
    asked = [str(folder.parent), "--sets", "chain", "--embedder", "hash", "--store-cache", cache]
    assert graph.main([*asked, "--quality", "--variants", "untitled"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["set", "variant", "system"]
    assert [line.split()[2] for line in lines] == ["BM25", "dense", "hybrid", "graph"]


def test_ablation_has_every_system(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = lines_of(folder, capsys, "--ablation", "--variants", "whole")
    assert [one["system"] for one in found] == list(systems())
    scores = {one["system"]: one for one in found}
    assert scores["without hops"] != scores["hybrid alone"]
    whole = lines_of(folder, capsys, "--quality", "--variants", "whole")
    for mode, system in (("graph", "all of it"), ("hybrid", "hybrid alone")):
        (beside,) = [one for one in whole if one["system"] == mode]
        assert scores[system]["recall_5"] == beside["recall_5"]


def test_a_set_that_is_missing_is_the_users_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(tmp_path), "--sets", "none", "--embedder", "hash", "--quality"]
    assert graph.main([*asked, "--store-cache", str(tmp_path / "cache")]) == 2
    assert "none" in capsys.readouterr().err


def test_variants_take_titles_and_capitals_away(folder: Path) -> None:
    cache = StoreCache(folder=folder.parent / "cache", embedder=HashEmbedder())
    whole, untitled, lower = (
        prepare_variant(folder, variant, cache).dataset
        for variant in ("whole", "untitled", "lower")
    )
    assert any(one.title for one in whole.documents)
    assert not any(one.title for one in untitled.documents)
    assert [one.text for one in untitled.documents] == [one.text for one in whole.documents]
    for one, small in zip(whole.documents, lower.documents, strict=True):
        assert (one.title.lower(), one.text.lower()) == (small.title, small.text)
    assert [one.question.lower() for one in whole.questions] == [
        one.question for one in lower.questions
    ]
    assert recorded(folder).keys() <= {one.id for one in whole.questions}


def test_the_made_up_corpus_has_names(tmp_path: Path) -> None:
    corpus = NamedCorpus(400, dimension=8)
    documents = list(corpus.documents())
    passages = [passage for one in documents for passage in one.passages]
    assert len(passages) == 400
    for one in documents:
        assert [one.document.text[p.start : p.end] for p in one.passages] == [
            p.text for p in one.passages
        ]
    counts = [len(mentioned_entities(passage.text)) for passage in passages]
    # Two names may stand side by side and be one, or be the same.
    assert NAMES - 2 < sum(counts) / len(counts) <= NAMES
    holders: dict[int, int] = {}
    for passage in passages:
        for key in mentioned_entities(passage.text):
            holders[key] = holders.get(key, 0) + 1
    assert max(holders.values()) > 100
    assert sum(count == 1 for count in holders.values()) > len(holders) / 3


def test_cost_measures_both_stores(tmp_path: Path) -> None:
    found = cost(tmp_path, 1000, queries=20)
    assert found.passages == 1000
    assert found.graph_mb > 0
    assert found.share == pytest.approx(found.graph_mb / found.plain_mb)
    assert found.graph_p95 >= found.graph_p50 > 0
