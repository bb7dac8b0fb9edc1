"""An answer told while it is written: whole words, the fence hidden, and never a mixture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agents import QUESTION, no_waiting, reading
from support.chat_server import (
    Behaviour,
    Exchange,
    FakeServer,
    drop,
    end_of_stream,
    error_event,
    says,
    stream_then,
)

from hoptrail.agents import Budget, Receipt, ServedModel, ask, replay
from hoptrail.agents.events import AnswerDelta, Event
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.delimiters import PLACEHOLDER, Delimiters
from hoptrail.agents.llm.types import ChatReply
from hoptrail.agents.roles.reading.answerer import _LONGEST, AnswerStream

FENCE = Delimiters.of(b"s" * 32)


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    no_waiting(monkeypatch)


def reply(answer: str, *, ascii_only: bool = True) -> str:
    proof = [{"text": "Ilsa Corrin was born at Tarn Hollow.", "evidence": [1, 2]}]
    return json.dumps({"claims": proof, "answer": answer}, ensure_ascii=ascii_only)


def told(deltas: Sequence[Event]) -> str:
    """What a listener has in the end."""
    pieces = (delta for delta in deltas if isinstance(delta, AnswerDelta))
    return reduce(lambda text, delta: delta.onto(text), pieces, "")


def heard(pieces: Sequence[str | None], end: str | None = None) -> list[AnswerDelta]:
    deltas: list[AnswerDelta] = []
    teller = AnswerStream(FENCE, deltas.append)
    for piece in pieces:
        teller.feed(piece)
    if end is not None:
        teller.advance_to(end)
    return deltas


def listened(
    library: KnowledgeBase, *answers: object, **options: object
) -> tuple[list[Event], Receipt]:
    """The events of a run whose model gives these replies to the answerer, and its receipt."""
    events: list[Event] = []
    model = reading(by_schema={"BriefForm": list(answers)})
    receipt = ask(QUESTION, library, model=model, on_event=events.append, **options)
    return events, receipt


@given(st.text(max_size=60), st.integers(1, 9), st.booleans())
def test_however_a_reply_comes_its_words_are_told_one_by_one(
    answer: str, size: int, ascii_only: bool
) -> None:
    text = reply(answer, ascii_only=ascii_only)
    end = answer.strip()
    live = heard([text[i : i + size] for i in range(0, len(text), size)], end)
    assert told(live) == end
    assert not any(delta.restart for delta in live)
    assert all(len(delta.text.split()) == 1 for delta in live)
    assert heard([text], end) == live  # as a replay has it


def test_words_are_told_before_the_reply_is_whole() -> None:
    text = reply("Tarn Hollow in the Orrin valley")
    assert [delta.text for delta in heard([text[: text.index("Orrin") + 2]])] == [
        "Tarn", " Hollow", " in", " the",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [1, 5, 400])
def test_thoughts_before_the_reply_are_not_told(size: int) -> None:
    text = f"<think>{reply('Not this, no')}</think>" + reply("Tarn Hollow it is")
    deltas = heard([text[i : i + size] for i in range(0, len(text), size)])
    assert told(deltas) == "Tarn Hollow it"
    assert not any(delta.restart for delta in deltas)


@pytest.mark.parametrize("size", [1, 5, 16, 400])
def test_no_piece_shows_any_of_the_fences_word(size: int) -> None:
    text = reply(f"say <{FENCE.word} quote 1> now")
    deltas = heard([text[i : i + size] for i in range(0, len(text), size)])
    assert told(deltas) == f"say <{PLACEHOLDER} quote 1>"
    assert not any(FENCE.word[:4] in delta.text for delta in deltas)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prose, no JSON",
        '{"answer": "\ud800 x y"}',
        '["answer"]',
        '{"answer": 5}',
        '{"claims": ["answer: x y z',
    ],
)
def test_a_reply_without_an_answer_streams_nothing(text: str) -> None:
    assert heard(list(text)) == []
    assert heard(list(text), "the end") == [AnswerDelta(text="the end")]


def test_a_reply_that_is_void_is_taken_back_once() -> None:
    text = reply("wrong words here")
    assert heard([text, None, None]) == [
        AnswerDelta(text="wrong"),
        AnswerDelta(text=" words"),
        AnswerDelta(text="", restart=True),
    ]
    assert told(heard([text, None, reply("right words")], "right words")) == "right words"
    assert heard([None]) == []


def test_a_flood_is_not_parsed_again_and_again() -> None:
    words = "word " * _LONGEST
    deltas = heard([reply(words)[i : i + 1000] for i in range(0, 3 * _LONGEST, 1000)], "short")
    assert len(deltas) < _LONGEST / 4
    assert told(deltas) == "short"


def test_a_run_tells_its_answer_in_pieces(library: KnowledgeBase) -> None:
    events, receipt = listened(library, reply("Tarn Hollow"))
    deltas = [event for event in events if isinstance(event, AnswerDelta)]
    assert deltas == [AnswerDelta(text="Tarn"), AnswerDelta(text=" Hollow")]
    assert told(events) == receipt.answer == "Tarn Hollow"


CUT = ChatReply(text=reply("cut off at")[:-2], finish_reason="length", usage=None, model="m")
BROKEN = '{"answer": "not an answer" and no comma}'


@pytest.mark.parametrize("first", [CUT, BROKEN])
def test_a_re_ask_leaves_no_mixture(library: KnowledgeBase, tmp_path: Path, first: object) -> None:
    file = tmp_path / "run.jsonl"
    events, receipt = listened(library, first, reply("Tarn Hollow"), record=file)
    assert told(events) == receipt.answer == "Tarn Hollow"
    assert [event.restart for event in events if isinstance(event, AnswerDelta)].count(True) == 1
    again: list[Event] = []
    assert replay(file, on_event=again.append).same
    deltas = [event for event in events if isinstance(event, AnswerDelta)]
    assert [event for event in again if isinstance(event, AnswerDelta)] == deltas


def test_where_no_reply_can_be_used_the_fallbacks_text_stands_alone(library: KnowledgeBase) -> None:
    events, receipt = listened(library, BROKEN, CUT)
    assert receipt.extractive
    assert told(events) == receipt.answer
    assert "cut" not in receipt.answer


def test_an_abstention_takes_back_what_it_said(library: KnowledgeBase) -> None:
    events, receipt = listened(library, reply("I do not know."))
    assert (told(events), receipt.outcome.kind) == ("", "abstained")


def test_a_budget_that_ends_before_the_re_ask_leaves_no_mixture(library: KnowledgeBase) -> None:
    calls = ask(QUESTION, library, model=reading()).usage.calls
    words = BROKEN.replace("not an answer", "not an answer at all")
    events, receipt = listened(library, words, budget=Budget(calls=calls))
    assert (receipt.stop, receipt.extractive, receipt.usage.calls) == ("sufficient", True, calls)
    assert told(events) == receipt.answer


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("ending", [drop, end_of_stream, error_event])
def test_a_stream_that_breaks_is_taken_back(library: KnowledgeBase, ending: Behaviour) -> None:
    answers = [
        stream_then(ending, '{"claims":[],"answer":"wrong wor', "ds for"),
        says(reply("Tarn Hollow")),
    ]

    async def behave(exchange: Exchange) -> None:
        assert exchange.request.body is not None
        if exchange.request.body.get("stream"):  # the answer node's alone
            await answers.pop(0)(exchange)
        else:
            await says('{"sentences":[1]}')(exchange)

    events: list[Event] = []
    with FakeServer(says('{"word":"qzv7kx"}'), behave) as server:
        model = ServedModel(url=server.url)
        ask(QUESTION, library, strategy="single", model=model, on_event=events.append)
        asked = [body["response_format"]["json_schema"]["name"] for body in server.chats]
    assert asked == ["probe", "BriefForm", "BriefForm"]
    # Then the quotes: in one search nothing was found that has the answer.
    assert [event for event in events if isinstance(event, AnswerDelta)][:-1] == [
        AnswerDelta(text="wrong"),
        AnswerDelta(text=" words"),
        AnswerDelta(text="", restart=True),
        AnswerDelta(text="Tarn"),
        AnswerDelta(text=" Hollow"),
    ]
