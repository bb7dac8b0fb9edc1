"""Recordings: the same receipt again with nothing live, and what a changed one does."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.agents import (
    CHAIN,
    CLAIMS,
    QUESTION,
    UNKNOWN,
    Around,
    Reader,
    make_chain,
    no_waiting,
    open_chain,
    over,
    reading,
    recording_lines,
)

from hoptrail.agents import Budget, Receipt, aask, ask, replay
from hoptrail.agents.events import AnswerDelta, Event, StepStarted
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatRequest
from hoptrail.agents.runs.intercepted import NotInReplay
from hoptrail.agents.runs.interceptor import Cancelled, LiveInterceptor
from hoptrail.agents.runs.recording import (
    LONG,
    Recorder,
    RecordingError,
    describe,
)
from hoptrail.agents.runs.replay import difference, revive
from hoptrail.rag.errors import ModelError
from hoptrail.rag.types import Mode, Ranking, Where

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def served(
    library: KnowledgeBase, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Receipt]:
    """A recorded run of the scripted reader, to be read or copied."""
    path = tmp_path_factory.mktemp("served") / "run.jsonl"
    return path, ask(QUESTION, library, model=reading(), record=path, settings=CLAIMS)


@pytest.mark.parametrize("strategy", ["pool", "single"])
@pytest.mark.parametrize("question", [QUESTION, UNKNOWN])
@pytest.mark.parametrize("model", [False, True])
def test_a_replay_gives_the_same_receipt_without_its_store(
    tmp_path: Path, strategy: str, question: str, model: bool
) -> None:
    root, path = make_chain(tmp_path / "store"), tmp_path / "run.jsonl"
    with open_chain(root) as own:
        endpoint = reading() if model else None
        first = ask(question, own, strategy=strategy, model=endpoint, record=path)
    shutil.rmtree(root)
    again = replay(path)
    assert again.same, again.difference
    assert again.difference == ""
    assert again.receipt.canonical() == first.canonical()
    assert again.receipt.usage.seconds == first.usage.seconds
    assert replay(path).receipt.canonical() == first.canonical()


def test_a_replay_tells_the_same_events(library: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    live: list[Event] = []
    again: list[Event] = []
    ask(QUESTION, library, model=reading(), record=path, on_event=live.append)
    replay(path, on_event=again.append)
    # Searches beside each other end in another order: those of a replay take no time.
    assert sorted(map(repr, again[:-1])) == sorted(map(repr, live[:-1]))
    assert [type(e) for e in again if isinstance(e, StepStarted | AnswerDelta)] == [
        type(e) for e in live if isinstance(e, StepStarted | AnswerDelta)
    ]


def edited(served: tuple[Path, Receipt], to: Path, edit: Edit) -> Path:
    """A copy of a recording, each line of it edited."""
    lines = recording_lines(served[0])
    for line in lines:
        edit(line)
    to.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return to


def said(old: str, new: str) -> Edit:
    """An edit of what the model is recorded to have said."""

    def edit(line: dict[str, Any]) -> None:
        if line.get("value", "").startswith('{"claims"'):
            line["value"] = line["value"].replace(old, new)

    return edit


def test_an_edited_response_changes_the_receipt(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    path = edited(
        served, tmp_path / "edited.jsonl", said('"answer": "Tarn Hollow"', '"answer": "1851"')
    )
    again = replay(path)
    assert served[1].answer == "Tarn Hollow"
    assert again.receipt.answer == "1851"
    assert not again.same
    assert again.difference.startswith("answer: recorded …")
    assert "Tarn Hollow" in again.difference
    assert "1851" in again.difference


def test_an_edited_claim_is_verified_anew(served: tuple[Path, Receipt], tmp_path: Path) -> None:
    path = edited(served, tmp_path / "edited.jsonl", said("Ilsa Corrin was", "Otto Renn was"))
    receipt = replay(path).receipt
    # The answer still stands in a sentence, which is cited in the claim's place.
    assert [c.text for c in receipt.claims] == ["She was born at Tarn Hollow on 12 March 1851."]
    assert (receipt.answer, receipt.outcome.kind) == ("Tarn Hollow", "partial")
    assert [c.reason for c in receipt.dropped] == ["not in its quotes: Otto Renn"]


def test_an_edited_slice_takes_the_evidence_away(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    def edit(line: dict[str, Any]) -> None:
        if line.get("call") == "corpus.slice" and line["arguments"]["document_id"] == "d2":
            line["result"] = "She was born at sea."

    receipt = replay(edited(served, tmp_path / "edited.jsonl", edit)).receipt
    (gone,) = (e.id for e in served[1].evidence if e.document_id == "d2")
    assert receipt.source_changed == (gone,)
    assert "d2" not in {e.document_id for e in receipt.evidence}
    assert receipt.claims == ()


def test_an_edited_receipt_is_told_from_the_run(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    def edit(line: dict[str, Any]) -> None:
        if "receipt" in line:
            line["receipt"]["rounds"] = 7

    again = replay(edited(served, tmp_path / "edited.jsonl", edit))
    assert (again.same, again.difference) == (False, "rounds: recorded …'7', now …'2'")


def test_the_environment_is_not_compared(served: tuple[Path, Receipt], tmp_path: Path) -> None:
    def edit(line: dict[str, Any]) -> None:
        if "receipt" in line:
            line["receipt"]["environment"] = {"run": "another", "machine": "elsewhere"}

    assert replay(edited(served, tmp_path / "edited.jsonl", edit)).same


def test_a_miss_names_the_node_and_the_difference(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    def edit(line: dict[str, Any]) -> None:
        if line.get("call") == "corpus.search" and line["arguments"]["query"] == "Ilsa Corrin born":
            line["arguments"]["query"] = "Ilsa Corrin buried"

    with pytest.raises(RecordingError) as error:
        replay(edited(served, tmp_path / "edited.jsonl", edit))
    message = str(error.value)
    assert message.startswith("Node 'retrieve' asked corpus.search for what was not recorded: ")
    assert "Ilsa Corrin buried" in message
    assert "Ilsa Corrin born" in message


def test_a_miss_of_a_whole_kind_of_call_says_so(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    def edit(line: dict[str, Any]) -> None:
        if line.get("call") == "corpus.slice":
            line["node"] = "elsewhere"

    path = edited(served, tmp_path / "edited.jsonl", edit)
    with pytest.raises(RecordingError, match=r"has no corpus.slice at node 'receipt'"):
        replay(path)


def test_a_call_made_more_often_than_recorded_says_so(
    library: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_waiting(monkeypatch)
    path = tmp_path / "run.jsonl"
    busy = AttemptFailed("rate_limited", "HTTP 429", retryable=True)
    plan = json.dumps({"needs": [{"text": "x", "subject": ""}], "asks": "place"})
    ask(QUESTION, library, model=reading(by_schema={"PlanForm": [busy, plan]}), record=path)
    lines = recording_lines(path)
    attempts = [
        line for line in lines
        if line.get("call") == "endpoint.attempt" and line["node"] == "plan"
    ]  # fmt: skip
    assert ["error" in line for line in attempts] == [True, False]
    lines.remove(attempts[1])
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(RecordingError, match=r"made the same endpoint.attempt more often than was"):
        replay(path)


def test_a_result_that_cannot_be_read_names_its_call(
    served: tuple[Path, Receipt], tmp_path: Path
) -> None:
    def edit(line: dict[str, Any]) -> None:
        if line.get("call") == "corpus.search":
            line["result"] = {"hits": 3}

    path = edited(served, tmp_path / "edited.jsonl", edit)
    with pytest.raises(RecordingError, match=r"holds for corpus.search at node 'retrieve' cannot"):
        replay(path)


def test_each_long_text_is_stored_once(served: tuple[Path, Receipt]) -> None:
    lines = recording_lines(served[0])
    stored = [line["value"] for line in lines if "text" in line]
    assert len(stored) == len(set(stored))
    assert all(len(text) >= LONG for text in stored)
    digests = {line["text"] for line in lines if "text" in line}
    written = served[0].read_text()
    for digest in digests:
        assert written.count(f'{{"$text":"{digest}"}}') >= 1
    passages = [text for _, text in CHAIN.values() if len(text) >= LONG]
    calls = [json.dumps(line) for line in lines if "call" in line]
    for text in passages:
        assert stored.count(text) == 1
        assert not any(json.dumps(text) in call for call in calls)
    # All roles have one system message.
    systems = [line for line in stored if line.startswith("You help to answer questions")]
    assert len(systems) == 1


def test_every_line_says_where_and_when(served: tuple[Path, Receipt]) -> None:
    lines = recording_lines(served[0])
    assert next(line for line in lines if "text" not in line)["format"] == 2
    assert "receipt" in lines[-1]
    calls = [line for line in lines if "call" in line]
    assert {line["node"] for line in calls} == {
        "start", "plan", "retrieve", "refine", "assess", "next_query", "answer", "receipt",
    }  # fmt: skip
    times = [line["at"] for line in calls]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "Cannot read"),
        ("", "is unfinished or no recording"),
        ("not json\n", "is no recording, or a broken one"),
        ("[1, 2]\n", "is no recording, or a broken one"),
        ('{"question": "a JSON file of another kind"}\n', "Line 1 of .* is no line of a recording"),
        ('{"format": 99, "header": {}}\n', "has recording format 99, this version reads 2"),
        ('{"format": 2, "header": {"job": {"$text": "gone"}}}\n', "is no line of a recording"),
        ('{"format": 2, "header": {}}\n', "is unfinished or no recording"),
        ('{"call": "x", "node": "n", "at": "soon", "arguments": 1}\n', "no line of a recording"),
        ('{"format": 2, "header": {}}\n{"receipt": {}}\n', "The recording's header cannot be read"),
        (
            '{"format": 2, "header": {"job": 3, "model": true}}\n{"receipt": {}}\n',
            "The recording's header cannot be read",
        ),
        ('{"format": 2, "header": 7}\n{"receipt": 3}\n', "no recording"),
        ('{"text": ["a"], "value": 1}\n', "no line of a recording"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "run.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecordingError, match=why) as error:
        replay(path)
    assert "record again" in str(error.value) or "run.jsonl" in str(error.value)


def test_a_binary_or_torn_file_is_refused(served: tuple[Path, Receipt], tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"\x1f\x8b\xff\x00 no text")
    with pytest.raises(RecordingError, match="is no recording, or a broken one"):
        replay(path)
    whole = served[0].read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match="broken one"):
        replay(path)
    path.write_bytes(whole[: whole[:-1].rfind(b"\n") + 1])
    with pytest.raises(RecordingError, match="unfinished"):
        replay(path)
    with pytest.raises(RecordingError, match="Cannot read"):
        replay(tmp_path)


def test_a_run_that_crashes_leaves_no_recording_under_its_name(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    class Breaking(Around):
        async def search(
            self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
        ) -> Ranking:
            raise RuntimeError("a bug")

    path = tmp_path / "run.jsonl"
    with pytest.raises(RuntimeError, match="a bug"):
        ask(QUESTION, over(library, Breaking(library.corpus)), record=path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl.part"]
    # and the next one under that name begins anew
    ask(QUESTION, library, record=path)
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]
    assert replay(path).same


def test_failed_attempts_are_replayed_without_waiting(
    library: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = no_waiting(monkeypatch)
    busy = AttemptFailed("rate_limited", "HTTP 429", retryable=True, retry_after=20.0)
    plan = json.dumps(
        Reader().plan(ChatRequest(messages=(), schema=None, schema_name="", max_tokens=1))
    )
    path = tmp_path / "run.jsonl"
    first = ask(
        QUESTION, library, model=reading(by_schema={"PlanForm": [busy, busy, plan]}), record=path
    )
    assert waited == [20.0, 20.0]
    assert (first.steps[0].use and first.steps[0].use.attempts) == 3
    again = replay(path)
    assert again.same, again.difference
    assert waited == [20.0, 20.0]


def test_a_dead_server_is_replayed(library: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    dead = AttemptFailed("unauthorised", "no such key")
    first = ask(QUESTION, library, model=ScriptedEndpoint(lambda _: dead), record=path)
    assert first.stop == "model_unavailable"
    assert replay(path).same


def test_garbage_is_replayed(library: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    garbage = ScriptedEndpoint(lambda _: "{\ud800 no \u2028 JSON", usage=lambda _: None)
    first = ask(QUESTION, library, model=garbage, record=path, budget=Budget(tokens=10**6))
    assert first.fallbacks > 0
    assert first.flags
    again = replay(path)
    assert again.same, again.difference


def test_a_cancellation_is_replayed(library: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> Receipt:
        cancel = asyncio.Event()

        class Cancelling(Around):
            async def search(
                self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
            ) -> Ranking:
                if "Corrin" in query:
                    cancel.set()
                    await asyncio.sleep(30)
                return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)

        own = over(library, Cancelling(library.corpus))
        return await aask(QUESTION, own, record=path, cancel=cancel)

    first = asyncio.run(main())
    assert (first.stop, first.outcome.kind) == ("cancelled", "partial")
    again = replay(path)
    assert again.same, again.difference


@pytest.mark.parametrize(
    "error",
    [
        AttemptFailed("rate_limited", "busy", retryable=True, retry_after=3.5, spent=False),
        AttemptFailed("server_error", "oops", retryable=True, spent=True),
        ModelError("no server"),
        Cancelled(),
        TimeoutError("late"),
    ],
)
def test_failures_come_back_as_they_were(error: Exception) -> None:
    described = json.loads(json.dumps(describe(error)))
    again = revive(described)
    assert type(again) is type(error)
    assert describe(again) == described
    assert str(again) == str(error)


def test_a_replay_that_reaches_for_the_world_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="A replay called 'search', which its recording lacks"):
        NotInReplay().search()  # type: ignore[operator]


def test_the_difference_of_receipts_is_the_first_one() -> None:
    assert difference({"a": 1, "environment": 1}, {"a": 1, "environment": 2}) == ""
    assert difference({"a": 1, "b": 2}, {"a": 1, "b": 3}) == "b: recorded …'2', now …'3'"
    assert difference({"a": 1}, {}).startswith("a: recorded …'1'")


def test_a_recording_in_an_unknown_folder_or_in_use_is_refused(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    from hoptrail.agents.budget.journal import JournalError

    taken = tmp_path / "file"
    taken.write_text("")
    for wrong in (taken / "run.jsonl", tmp_path):
        with pytest.raises(RecordingError, match="Cannot record to"):
            ask(QUESTION, library, record=wrong)
    first = Recorder(LiveInterceptor(), tmp_path / "run.jsonl", {})
    with pytest.raises(JournalError, match="still going"):
        ask(QUESTION, library, record=tmp_path / "run.jsonl")
    first.finish("{}")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["file", "run.jsonl"]
