"""The floors: what is compared with what, the table, and the exit codes."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from support.datasets import QUESTIONS, write_set

from hoptrail.agents import RunSettings
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.metrics.aggregate import Mean
from hoptrail.evals.metrics.answers import normalize_answer
from hoptrail.evals.regression import __main__ as floors_main
from hoptrail.evals.regression import graph_search as floors_graph
from hoptrail.evals.regression import strategies as floors
from hoptrail.evals.regression.__main__ import main
from hoptrail.evals.regression.strategies import HybridBaseline, search_all, thresholds_of
from hoptrail.evals.regression.threshold import Threshold
from hoptrail.evals.reports.summary import Report, summarise
from hoptrail.evals.runner import EvalConfig, aevaluate
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_set(tmp_path / "data" / "chain")
    return tmp_path / "data"


def arguments(data: Path, *more: str) -> list[str]:
    cache = str(data.parent / "cache")
    return [str(data), "--sets", "chain", "--embedder", "hash", "--store-cache", cache, *more]


def report(strategy: str, recall: float, contains: Mean) -> Report:
    empty = summarise(
        [], dataset="d", missing_records=(), run={"strategy": strategy, "model": None}
    )
    measures = {**empty.measures, "recall@5": Mean(value=recall, count=90), "contains": contains}
    return Report(
        **{name: getattr(empty, name) for name in Report.__slots__} | {"measures": measures}
    )


def test_the_floors_of_a_set_by_hand() -> None:
    searched = HybridBaseline(recall_at_5=53.38, answers_in_top=40)
    single = report("single", 0.55, Mean(value=0.9, count=80))
    pool = report("pool", 0.57, Mean(value=39 / 80, count=80))
    hybrid, quotes, lead = thresholds_of("musique_dev", searched, single, pool)
    assert (hybrid.measured, hybrid.wanted, hybrid.reached) == (53.38, 53.4, True)
    assert (quotes.measured, quotes.wanted, quotes.reached) == (39, 40, False)
    assert (lead.measured, lead.wanted) == pytest.approx((57.0, 57.0))
    assert lead.reached
    assert len(thresholds_of("another_set", searched, single, pool)) == 2


@pytest.mark.parametrize(("measured", "reached"), [(68.0, True), (67.96, True), (67.94, False)])
def test_a_floor_is_compared_as_its_baseline_is_given(measured: float, reached: bool) -> None:
    floor = Threshold(set="s", what="w", measured=measured, wanted=68.0)
    assert floor.reached is reached
    assert floor.line().split()[-4:] == [
        f"{measured:.1f}", ">=", "68.0", "ok" if reached else "MISS",
    ]  # fmt: skip


def test_the_thresholds_of_hybrid_search_are_unchanged() -> None:
    expected = {"2wiki_hipporag": 68.0, "musique_dev": 53.4, "hotpot_dev": 76.5}
    assert expected == floors.HYBRID_RECALL_AT_5
    assert (floors.LEAD, floors.TOP) == (2.0, 3)


def test_hybrid_search_is_measured_on_all_and_compared_on_some(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data / "chain")
    cache = StoreCache(folder=tmp_path / "stores", embedder=HashEmbedder())
    root = prepare_store(dataset, cache, lambda event: None).root
    shares, found = [], 0
    with Store.open(root) as store:
        searcher = Retriever(store, HashEmbedder())
        for question in dataset.questions:
            hits = searcher.search(question.question, k=8, mode="hybrid").hits
            first = {hit.passage.document_id for hit in hits[:5]}
            if question.id in ("q1", "q3", "q5"):
                shares.append(
                    len(first & set(question.supporting_ids)) / len(question.supporting_ids)
                )
            texts = normalize_answer(
                " ".join(f"{h.passage.title} {h.passage.text}" for h in hits[:3])
            )
            found += any(normalize_answer(answer) in texts for answer in question.answers)
    everything = search_all(dataset, root, cache, dataset.questions)
    assert everything.recall_at_5 == pytest.approx(100 * sum(shares) / 3)
    assert everything.answers_in_top == found > 0
    nothing = search_all(dataset, root, cache, ())
    assert nothing == HybridBaseline(recall_at_5=everything.recall_at_5, answers_in_top=0)


def test_a_run_prints_each_floor_and_says_by_its_code_whether_all_hold(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors, "LEAD", -100.0)
    monkeypatch.setitem(floors.HYBRID_RECALL_AT_5, "chain", 10.0)
    code = main(arguments(data))
    out, progress = capsys.readouterr()
    rows = out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["chain"] * 5 + ["claim"] * 2
    assert "hybrid search, recall@5" in rows[0]
    assert rows[0].endswith("ok")
    assert rows[2].endswith("ok")
    assert code == (1 if "MISS" in out else 0)
    assert "single with the graph, recall@5" in rows[3]
    assert "pool with the graph, recall@5" in rows[4]
    for step in (
        "store ready: 8 records, 8 passages",
        *(f"{name}, {mode}: 5" for name in ("single", "pool") for mode in ("hybrid", "graph")),
    ):
        assert f"chain: {step}" in progress
    cache = StoreCache(folder=data.parent / "cache", embedder=HashEmbedder())
    trial = EvalConfig(strategy="pool", settings=RunSettings(mode="hybrid"))
    pool = asyncio.run(aevaluate(data / "chain", trial, cache=cache))
    printed = float(re.findall(r"[\d.]+", rows[2])[-2])
    assert printed == pytest.approx(100 * (pool.measures["recall@5"].value or 0), abs=0.051)


def test_the_graph_has_floors_of_its_own(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(floors_graph.GRAPH_RECALL_AT_5, "chain", 1.0)
    monkeypatch.setattr(floors_graph, "ONE_HOP", ("chain",))
    main(arguments(data))
    rows = [row for row in capsys.readouterr().out.splitlines() if "graph" in row]
    whole, untitled, one_hop = (
        next(row for row in rows if what in row)
        for what in ("graph search, recall@5", "graph without titles, vs hybrid", "on one hop")
    )
    assert whole.split()[-2:] == ["1.0", "ok"]
    for row, margin in ((untitled, 2.0), (one_hop, -1.0)):
        hybrid = float(re.findall(r"hybrid's ([\d.]+)", row)[0])
        assert float(row.split()[-2]) == pytest.approx(hybrid + margin, abs=0.051)


def test_the_thresholds_of_graph_search_are_unchanged() -> None:
    expected = {"2wiki_hipporag": 96.0, "musique_dev": 60.0, "hotpot_dev": 90.0}
    assert expected == floors_graph.GRAPH_RECALL_AT_5
    assert (floors_graph.UNTITLED_LEAD, floors_graph.ONE_HOP_LOSS) == (2.0, 1.0)
    assert floors_graph.ONE_HOP == ("nq_open", "squad11_dev")


def test_a_miss_is_an_error(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(floors.HYBRID_RECALL_AT_5, "chain", 100.1)
    assert main(arguments(data)) == 1
    out, progress = capsys.readouterr()
    assert out.splitlines()[1].endswith("MISS")
    assert "floors reached" in progress


def test_quick_asks_only_the_first_questions(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floors_main, "QUICK", 2)
    main(arguments(data, "--quick"))
    progress = capsys.readouterr().err
    assert "the floors mean all of them" in progress
    assert "pool, graph: 2 questions" in progress
    assert f"hybrid search: {len(QUESTIONS)} questions" in progress


def test_what_cannot_be_measured_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data), "--embedder", "hash"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("2wiki_hipporag", "musique_dev", "hotpot_dev"))
    assert main(arguments(data, "--embedder", "word2vec")) == 2
    assert "Unknown embedder 'word2vec'" in capsys.readouterr().err
    (data / "chain" / "questions.jsonl").unlink()
    assert main(arguments(data)) == 2
    assert "lacks questions.jsonl" in capsys.readouterr().err


def test_the_table_goes_to_stdout_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(data)) in (0, 1)
    out, progress = capsys.readouterr()
    assert out.splitlines()[0].split() == ["set", "floor", "measured", "wanted"]
    assert "store ready" not in out
    assert "measured" not in progress
    assert sys.stdout is not sys.stderr
