"""Evaluation: scores by hand, rows that survive, runs that go on, failures that are counted."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.agents import QUESTION, UNKNOWN, evidence, reading
from support.datasets import BLANK, QUESTIONS, Counting, write_set

from hoptrail.agents import Budget, Receipt, RunSettings, Usage, ask, open_library
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, ServerInfo
from hoptrail.agents.types import Candidate, Claim, Outcome
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.metrics.aggregate import Mean
from hoptrail.evals.metrics.answers import contains_in_texts
from hoptrail.evals.reports.summary import Report, summarise
from hoptrail.evals.results import (
    SCORES,
    QuestionResult,
    ResultsFile,
    failed_result,
    is_unanswerable,
    result_of,
    shown_quotes,
)
from hoptrail.evals.runner import GONE, EvalConfig, EvalProgress, aevaluate
from hoptrail.evals.store_cache import StoreCache, prepare_store
from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.caching import CachingEmbedder
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import ModelError, SettingsError, StoreError, StoreFull
from hoptrail.rag.ingest.pipeline import FileFailed, IngestEvent
from hoptrail.rag.types import Vectors

SINGLE = EvalConfig(strategy="single")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> StoreCache:
    return StoreCache(folder=tmp_path_factory.mktemp("cache"), embedder=HashEmbedder())


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    return write_set(tmp_path / "chain")


def run(folder: Path, cache: StoreCache, trial: EvalConfig = SINGLE, **options: Any) -> Report:  # noqa: ANN401
    return asyncio.run(aevaluate(folder, trial, cache=cache, **options))


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "questions.jsonl").read_text().splitlines()]


def candidate(document: str) -> Candidate:
    return Candidate(
        passage_id=f"c-{document}", document_id=document, score=1.0, own=1.0, round=1, query=""
    )


def receipt(**fields: Any) -> Receipt:  # noqa: ANN401
    plain: dict[str, Any] = dict(
        question="?", strategy="single", model="", answer="", extractive=True,
        outcome=Outcome(kind="answered"), stop="sufficient", claims=(), dropped=(), evidence=(),
        source_changed=(), candidates=(), plan=None, steps=(), rounds=1, fallbacks=0, flags=(),
        budget=Budget(), usage=Usage(), generation=1,
    )  # fmt: skip
    return Receipt(**{**plain, **fields})


def test_evidence_ranks_before_candidates_and_passages_become_records() -> None:
    made = receipt(
        answer="The Tarn Hollow",
        evidence=(evidence(1, "b", "It was Tarn Hollow."), evidence(2, "b"), evidence(3, "x")),
        candidates=(candidate("a"), candidate("b"), candidate("y"), candidate("z")),
        claims=(Claim(text="-", evidence=("e1",), verdict="holds"),),
    )
    question = Question(id="q", question="?", answers=("tarn hollow",), supporting_ids=("a", "b"))
    row = result_of(question, made)
    assert row.ranking == ("b", "x", "a", "y", "z")
    ideal = 1 + 1 / np.log2(3)
    assert row.scores == {
        "recall@2": 0.5, "recall@5": 1.0, "recall@10": 1.0, "recall@20": 1.0,
        "ndcg@10": pytest.approx((1 + 1 / 2) / ideal), "em": 1.0, "f1": 1.0, "contains": 1.0,
    }  # fmt: skip
    assert tuple(row.scores) == SCORES


def test_the_shown_quotes_are_those_of_held_claims_and_at_most_five() -> None:
    pieces = tuple(evidence(n, "d", f"quote {n}") for n in range(1, 9))
    claims = (
        Claim(text="-", evidence=("e3", "e1"), verdict="holds"),
        Claim(text="-", evidence=("e1", "gone", "e4", "e5", "e6", "e7"), verdict="holds"),
    )
    dropped = (Claim(text="-", evidence=("e8",), verdict="dropped", reason="no"),)
    shown = shown_quotes(receipt(evidence=pieces, claims=claims, dropped=dropped))
    assert shown == ("quote 3", "quote 1", "quote 4", "quote 5", "quote 6")


def test_an_answer_stands_in_one_quote_and_yes_and_no_stand_in_none() -> None:
    assert contains_in_texts(["It lay at Tarn", "Hollow it was"], ["Tarn Hollow"]) == 0
    assert contains_in_texts(["No.", "at the Tarn Hollow"], ["x", "Tarn Hollow"]) == 1
    assert contains_in_texts([], ["Tarn Hollow"]) == 0
    assert contains_in_texts(["Yes, it is"], ["yes", "No"]) is None
    assert contains_in_texts(["anything"], []) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"answers": ("x",), "supporting_ids": ("a",)}, False),
        ({"answers": (), "supporting_ids": ("a",), "answerable": False}, True),
        ({"answers": ("x",), "supporting_ids": (), "answerable": False}, True),
        ({"answers": (), "supporting_ids": ()}, True),
        ({"answers": (), "supporting_ids": ("a",)}, False),
        ({"answers": (), "supporting_ids": (), "grades": {"a": 1}}, False),
    ],
)
def test_a_question_that_says_so_or_has_no_gold_is_unanswerable(
    fields: dict[str, Any], expected: bool
) -> None:
    assert is_unanswerable(Question(id="q", question="?", **fields)) is expected


def test_what_has_no_gold_is_not_scored() -> None:
    known = {one["id"]: one for one in QUESTIONS}

    def scored(name: str) -> set[str]:
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in known[name].items()}
        row = failed_result(Question(**fields), StoreError("gone"))
        assert set(row.scores.values()) <= {None, 0.0}
        return {score for score, value in row.scores.items() if value is not None}

    rankings = {"recall@2", "recall@5", "recall@10", "recall@20", "ndcg@10"}
    answers = {"em", "f1", "contains"}
    assert scored("q1") == rankings | answers
    assert scored("q2") == set()
    assert scored("q4") == answers
    assert scored("q5") == rankings


def row(name: str, *, seconds: float = 1.0, **fields: Any) -> QuestionResult:  # noqa: ANN401
    plain: dict[str, Any] = dict(
        unanswerable=False, scores=dict.fromkeys(SCORES), outcome="answered", stop="sufficient"
    )
    usage = Usage(calls=2, prompt_tokens=30, completion_tokens=10, searches=3, seconds=seconds)
    return QuestionResult(id=name, **{**plain, "usage": usage, **fields})


def summary(rows: Sequence[QuestionResult]) -> dict[str, Any]:
    made = summarise(
        rows, dataset="d", missing_records=("m",), run={"strategy": "pool", "model": None}
    )
    return json.loads(json.dumps(made.record()))  # type: ignore[no-any-return]


def test_measures_bear_their_names_with_their_counts() -> None:
    rows = [
        row("a", scores={"recall@5": 1.0, "em": 0.0}),
        row("b", scores={"recall@5": 0.5, "em": None}),
        row(
            "c", scores={"recall@5": 0.0, "em": 1.0}, error="StoreError: x", outcome=None, stop=None
        ),
    ]
    record = summary(rows)
    assert (record["recall@5"], record["counts"]["recall@5"]) == (0.5, 3)
    assert (record["em"], record["counts"]["em"]) == (0.5, 2)
    assert (record["f1"], record["counts"]["f1"]) == (None, 0)
    assert (record["questions"], record["completed"], record["failed"]) == (3, 2, 1)
    assert record["failures"] == [{"id": "c", "error": "StoreError: x"}]
    assert record["outcomes"] == {"answered": 2}
    assert record["missing_records"] == ["m"]


def test_abstaining_by_hand() -> None:
    silent = {"outcome": "abstained", "reason": "not_in_evidence"}
    rows = [
        *(row(f"right{i}", unanswerable=True, **silent) for i in range(3)),
        row("talked", unanswerable=True),
        row("failed", unanswerable=True, outcome=None, stop=None, error="x"),
        row("silent", **silent),
        *(row(f"said{i}") for i in range(4)),
    ]
    record = summary(rows)
    assert record["abstention_precision"] == pytest.approx(3 / 4)
    assert record["abstention_recall"] == pytest.approx(3 / 5)
    assert record["over_abstention"] == pytest.approx(1 / 5)
    counts = record["counts"]
    assert (counts["abstention_precision"], counts["abstention_recall"]) == (4, 5)
    assert counts["over_abstention"] == 5
    assert record["abstain_reasons"] == {"not_in_evidence": 4}


def test_costs_are_those_of_runs_that_ended() -> None:
    rows = [row(str(n), seconds=float(n)) for n in range(1, 22)]
    failed = row("f", seconds=900.0, error="x", outcome=None, stop=None)
    record = summary([*rows, failed])
    assert record["seconds"] == {"mean": 11.0, "p50": 11.0, "p95": 20.0, "total": 231.0}
    assert record["tokens"] == {"mean": 40.0, "p50": 40.0, "p95": 40.0, "total": 840.0}
    assert record["calls"]["mean"] == 2
    assert record["searches"]["total"] == 63
    assert "seconds" not in summary([failed])


def test_every_kind_of_question_is_asked_and_scored(
    chain: Path, cache: StoreCache, tmp_path: Path
) -> None:
    heard: list[EvalProgress] = []
    report = run(chain, cache, out=tmp_path / "out", on_progress=heard.append)
    record = report.record()
    assert (report.questions, report.failed, report.missing_records) == (5, 0, ())
    scored = ("recall@5", "em", "contains", "abstention_recall")
    assert [record["counts"][name] for name in scored] == [3, 3, 3, 1]
    assert record["recall@20"] == 1
    assert record["abstention_recall"] == 1
    assert [(one.done, one.total) for one in heard] == [(n, 5) for n in range(6)]
    assert heard[0].row is None
    assert {one.row.id for one in heard if one.row} == {"q1", "q2", "q3", "q4", "q5"}
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == json.loads(
        json.dumps(record)
    )


def test_rows_agree_with_the_receipts_of_the_same_questions(
    world: Path, cache: StoreCache, tmp_path: Path
) -> None:
    run(world, cache, replace(SINGLE, limit=6), out=tmp_path)
    dataset = load_dataset(world)
    store = prepare_store(dataset, cache, lambda event: None)
    by_id = {one["id"]: one for one in lines(tmp_path)}
    assert set(by_id) == {question.id for question in dataset.questions[:6]}
    with open_library(store.root, embedder=cache.embedder, keep=False) as library:
        for question in dataset.questions[:6]:
            made = ask(question.question, library, strategy="single")
            order = [e.document_id for e in made.evidence]
            order += [c.document_id for c in made.candidates]
            first = sorted(set(order), key=order.index)
            found = set(question.supporting_ids) & set(first[:5])
            kept = by_id[question.id]
            assert kept["ranking"] == first[:20]
            assert kept["answer"] == made.answer
            if question.supporting_ids:
                assert kept["scores"]["recall@5"] == len(found) / len(question.supporting_ids)


def test_a_served_model_plays(chain: Path, cache: StoreCache, tmp_path: Path) -> None:
    endpoint = reading()
    trial = EvalConfig(strategy="pool", model=endpoint, limit=1)
    report = run(chain, cache, trial, out=tmp_path)
    record = report.record()
    assert (record["em"], record["f1"], record["model"]) == (1.0, 1.0, "scripted")
    assert record["calls"]["total"] == len(endpoint.requests) > 0
    assert record["run"]["model"] == {"name": "scripted", "url": ""}
    assert not endpoint.closed


def test_no_more_questions_are_under_way_than_allowed(tmp_path: Path, cache: StoreCache) -> None:
    class Busy(ScriptedEndpoint):
        now = most = 0

        async def attempt(
            self,
            request: ChatRequest,
            *,
            timeout: float,
            on_delta: Callable[[str], None] | None = None,
        ) -> ChatReply:
            Busy.now += 1
            Busy.most = max(Busy.most, Busy.now)
            await asyncio.sleep(0.01)
            Busy.now -= 1
            return await super().attempt(request, timeout=timeout, on_delta=on_delta)

    many = [{**QUESTIONS[0], "id": f"q{n}"} for n in range(6)]
    endpoint = Busy(lambda request: "no JSON at all")
    trial = EvalConfig(strategy="single", model=endpoint, concurrency=2, budget=Budget(calls=2))
    report = run(write_set(tmp_path / "many", many), cache, trial)
    assert Busy.most == 2
    assert report.fallbacks >= 6


class Stop(Exception):
    """A run that dies in the middle."""


def dying(after: int) -> Callable[[EvalProgress], None]:
    def listen(progress: EvalProgress) -> None:
        if progress.done == after:
            raise Stop

    return listen


def test_a_killed_run_goes_on_where_it_was(chain: Path, cache: StoreCache, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_by_one = replace(SINGLE, concurrency=1)
    with pytest.raises(ExceptionGroup) as died:
        run(chain, cache, one_by_one, out=out, on_progress=dying(3))
    assert died.group_contains(Stop)
    kept = (out / "questions.jsonl").read_bytes()
    assert [one["id"] for one in lines(out)] == ["q1", "q2", "q3"]
    with (out / "questions.jsonl").open("ab") as file:
        file.write(b'{"id": "q4", "unans')
    heard: list[EvalProgress] = []
    report = run(chain, cache, one_by_one, out=out, on_progress=heard.append)
    assert [(one.done, one.row and one.row.id) for one in heard] == [
        (3, None), (4, "q4"), (5, "q5"),
    ]  # fmt: skip
    assert (out / "questions.jsonl").read_bytes().startswith(kept)
    assert [one["id"] for one in lines(out)] == ["q1", "q2", "q3", "q4", "q5"]
    whole = run(chain, cache, one_by_one)
    assert report.measures == whole.measures
    assert report.outcomes == whole.outcomes


def test_a_larger_limit_adds_to_what_is_there(
    chain: Path, cache: StoreCache, tmp_path: Path
) -> None:
    assert run(chain, cache, replace(SINGLE, limit=2), out=tmp_path).questions == 2
    heard: list[EvalProgress] = []
    trial = replace(SINGLE, limit=4, concurrency=3)
    assert run(chain, cache, trial, out=tmp_path, on_progress=heard.append).questions == 4
    assert heard[0].done == 2
    assert run(chain, cache, replace(SINGLE, limit=1), out=tmp_path).questions == 1


@pytest.mark.parametrize(
    ("trial", "difference"),
    [
        (EvalConfig(strategy="pool"), "strategy was 'single' and is 'pool'"),
        (replace(SINGLE, budget=Budget(searches=7)), "budget searches was 48 and is 7"),
        (replace(SINGLE, settings=RunSettings(k=3)), "settings k was 20 and is 3"),
        (replace(SINGLE, model=reading()), "model was None and is {'name': 'scripted'"),
    ],
)
def test_results_of_other_settings_are_not_mixed(
    chain: Path, cache: StoreCache, tmp_path: Path, trial: EvalConfig, difference: str
) -> None:
    run(chain, cache, replace(SINGLE, limit=1), out=tmp_path)
    before = (tmp_path / "questions.jsonl").read_bytes()
    with pytest.raises(SettingsError) as refused:
        run(chain, cache, trial, out=tmp_path)
    assert difference in str(refused.value)
    assert "--out" in str(refused.value)
    assert (tmp_path / "questions.jsonl").read_bytes() == before


def test_results_of_another_set_are_not_mixed(
    chain: Path, cache: StoreCache, tmp_path: Path
) -> None:
    run(chain, cache, replace(SINGLE, limit=1), out=tmp_path)
    other = write_set(tmp_path / "other", [{**QUESTIONS[0], "answers": ["elsewhere"]}])
    with pytest.raises(
        SettingsError, match=r"dataset name was 'chain' and is 'other'.*questions was"
    ):
        run(other, cache, out=tmp_path)


def test_an_out_folder_that_cannot_be_used(tmp_path: Path) -> None:
    told = {"strategy": "single"}
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        ResultsFile(tmp_path / "file", told)
    with ResultsFile(tmp_path / "out", told) as first:
        with pytest.raises(SettingsError, match="Another evaluation is writing"):
            ResultsFile(tmp_path / "out", told)
        first.append(row("a"))
    (tmp_path / "out" / "questions.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(SettingsError, match="line 1, is no result of a question: delete the line"):
        ResultsFile(tmp_path / "out", told)
    (tmp_path / "out" / "run.json").write_text("{")
    with pytest.raises(SettingsError, match=r"run\.json.* cannot be read"):
        ResultsFile(tmp_path / "out", told)
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(SettingsError, match=r"no run\.json with its settings"):
        ResultsFile(tmp_path / "out", told)


def test_a_question_that_cannot_be_asked_is_counted_and_asked_again(
    cache: StoreCache, tmp_path: Path
) -> None:
    bad = {"id": "bad", "question": BLANK, "answers": ["x"], "supporting_ids": ["d1"]}
    folder = write_set(tmp_path / "set", [bad, QUESTIONS[2]])
    report = run(folder, cache, out=tmp_path / "out")
    assert (report.questions, report.failed) == (2, 1)
    assert report.failures[0].id == "bad"
    assert report.failures[0].error.startswith("SettingsError: The question is empty.")
    assert report.measures["recall@20"] == Mean(value=0.5, count=2)
    heard: list[EvalProgress] = []
    again = run(folder, cache, out=tmp_path / "out", on_progress=heard.append)
    assert [one.row.id for one in heard if one.row] == ["bad"]
    assert again == report


def test_a_server_that_cannot_be_used_ends_the_run(
    chain: Path, cache: StoreCache, tmp_path: Path
) -> None:
    class Unusable(ScriptedEndpoint):
        async def info(self) -> ServerInfo:
            raise ModelError("the model server does not answer")

    with pytest.raises(ModelError, match="does not answer"):
        run(chain, cache, replace(SINGLE, model=Unusable()), out=tmp_path)


def test_a_server_that_dies_ends_the_run_and_what_was_done_stays(
    cache: StoreCache, tmp_path: Path
) -> None:
    many = [{**QUESTIONS[0], "id": f"q{n:02}"} for n in range(3 * GONE)]
    folder = write_set(tmp_path / "many", many)
    alive = reading()

    def trial(endpoint: ScriptedEndpoint) -> EvalConfig:
        return EvalConfig(strategy="pool", model=endpoint, concurrency=1)

    def dies(request: ChatRequest) -> ChatReply:
        raise AttemptFailed("unauthorised", "the key was withdrawn")

    assert run(folder, cache, replace(trial(alive), limit=2), out=tmp_path / "out").failed == 0
    with pytest.raises(ModelError, match="in a row lost the model server"):
        run(folder, cache, trial(ScriptedEndpoint(dies)), out=tmp_path / "out")
    assert len(lines(tmp_path / "out")) == 2 + GONE
    heard: list[EvalProgress] = []
    report = run(folder, cache, trial(reading()), out=tmp_path / "out", on_progress=heard.append)
    assert heard[0].done == 2
    assert report.stop_reasons == {"sufficient": len(many)}
    assert report.measures["em"] == Mean(value=1.0, count=len(many))


def test_a_full_disk_is_said_and_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    with ResultsFile(tmp_path, {"strategy": "single"}) as rows:
        rows.append(row("a"))
        before = (tmp_path / "questions.jsonl").read_bytes()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A file that may not grow is to the writer what a full disk is, partial write included.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))
        try:
            with pytest.raises(StoreFull, match="is full"):
                rows.append(row("b"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "questions.jsonl").read_bytes() == before
        rows.append(row("b"))
    assert [one["id"] for one in lines(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["limit", "concurrency"])
def test_numbers_below_one_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"The setting '{name}' is 0"):
        EvalConfig(**{name: 0})


def test_an_unknown_strategy_is_refused_before_anything_is_ingested() -> None:
    with pytest.raises(SettingsError, match="Unknown strategy 'guess'"):
        EvalConfig(strategy="guess")


def test_a_set_is_embedded_once(chain: Path, tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    heard: list[IngestEvent] = []
    made = [
        prepare_store(load_dataset(chain), StoreCache(folder=tmp_path, embedder=one), heard.append)
        for one in (first, second)
    ]
    assert len(first.passages) == 8
    assert second.passages == []
    assert made[0] == made[1]
    assert (made[0].documents, made[0].passages, made[0].missing) == (8, 8, ())


def test_each_corpus_and_choice_of_indexes_has_a_store_of_its_own(
    chain: Path, tmp_path: Path
) -> None:
    cache = StoreCache(folder=tmp_path / "cache", embedder=HashEmbedder())
    shorter = write_set(tmp_path / "b" / "chain", QUESTIONS[1:2], {"d1": ("Heron", "A ship.")})
    stores = [
        prepare_store(load_dataset(folder), one, lambda event: None)
        for folder, one in (
            (chain, cache),
            (shorter, cache),
            (chain, replace(cache, lexical="rank-bm25")),
            (chain, replace(cache, embedder=HashEmbedder(32))),
        )
    ]
    assert len({store.root for store in stores}) == 4
    assert len({store.fingerprint for store in stores}) == 4
    copy = replace(cache, folder=tmp_path / "elsewhere")
    again = prepare_store(load_dataset(chain), copy, lambda event: None)
    assert again.fingerprint == stores[0].fingerprint


def test_records_that_cannot_be_ingested_are_told(tmp_path: Path, cache: StoreCache) -> None:
    folder = write_set(
        tmp_path / "set", [QUESTIONS[2]], {"d5": ("Light", "It was lit."), "d9": ("Empty", " ")}
    )
    heard: list[IngestEvent] = []
    report = run(folder, cache, on_ingest=heard.append)
    assert [event.line for event in heard if isinstance(event, FileFailed)] == [2]
    assert report.missing_records == ("d9",)


def test_a_cache_that_cannot_be_written(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = StoreCache(folder=tmp_path / "file", embedder=HashEmbedder())
    with pytest.raises(SettingsError, match="--store-cache"):
        run(chain, cache)


def test_an_ingest_nobody_waits_for_ends(chain: Path, tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            began.set()
            assert go_on.wait(60)
            return super().embed(texts, kind)

    heard: list[IngestEvent] = []

    async def cancelled() -> None:
        cache = StoreCache(folder=tmp_path / "cache", embedder=Slow())
        task = asyncio.create_task(aevaluate(chain, SINGLE, cache=cache, on_ingest=heard.append))
        await asyncio.to_thread(began.wait, 60)
        before = len(heard)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()
        assert len(heard) == before

    asyncio.run(cancelled())


def test_remembered_vectors_are_the_same_and_made_once() -> None:
    inner = Counting()
    remembering = CachingEmbedder(inner)
    texts = ["a ship", "a harbour", "a ship"]
    for wanted in (texts, texts[::-1], ["a fire", "a ship"]):
        got = remembering.embed(wanted)
        assert got.dtype == np.float32
        assert np.array_equal(got, HashEmbedder().embed(wanted))
    assert inner.passages == ["a ship", "a harbour", "a fire"]
    assert remembering.embed([]).shape == (0, 64)
    assert (remembering.id, remembering.dimension, remembering.window) == (
        inner.id, inner.dimension, inner.window,
    )  # fmt: skip
    assert np.array_equal(remembering.embed(["a ship"], "query"), inner.embed(["a ship"], "query"))


def test_what_was_remembered_first_is_forgotten_first() -> None:
    inner = Counting()
    remembering = CachingEmbedder(inner, most=2)
    remembering.embed(["a"])
    remembering.embed(["b", "c"])
    remembering.embed(["b", "c"])
    assert inner.passages == ["a", "b", "c"]
    remembering.embed(["a"])
    assert inner.passages == ["a", "b", "c", "a"]


def test_the_questions_of_the_helpers_are_those_of_the_chain() -> None:
    assert [one["question"] for one in QUESTIONS[:2]] == [QUESTION, UNKNOWN]
