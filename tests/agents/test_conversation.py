"""Questions of a conversation, events as a stream, and runs that wait for a reply."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START
from langgraph.types import interrupt
from support.agents import QUESTION, over, reading, said

from hoptrail.agents import (
    Budget,
    Paused,
    Strategy,
    Turn,
    ask,
    astream,
    nodes,
    replay,
    resume,
    unfinished_runs,
)
from hoptrail.agents.events import Done, Event, QuestionRewritten
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.searching.rewriter import LocalRewriter, leans
from hoptrail.agents.runs.recording import Recording
from hoptrail.agents.strategies.graph import RunGraph, add_nodes
from hoptrail.rag.errors import SettingsError

TALK = (
    Turn(question="What was the Heron?", answer="A survey ship launched at Maddock Yard."),
    Turn(question="Who was her first master?", answer="Ilsa Corrin"),
)

# Conversations


@pytest.mark.parametrize(
    ("question", "stands"),
    [
        ("Where was she born?", "Where was she born? (Ilsa Corrin)"),
        ("And in 1900?", "And in 1900? (Ilsa Corrin)"),
        ("Why?", "Why? (Ilsa Corrin)"),
        ("Where was Ilsa Corrin born?", "Where was Ilsa Corrin born?"),
        ("How many inhabitants had Tarn Hollow in 1900?",) * 2,
        ("Where did Ilsa Corrin leave her ship?",
         "Where did Ilsa Corrin leave her ship? (Maddock Yard)"),
    ],
)  # fmt: skip
def test_names_are_put_in_where_a_question_leans_on_the_talk(question: str, stands: str) -> None:
    made = asyncio.run(LocalRewriter().rewrite(question, TALK)).value
    assert made == stands


def test_without_a_name_in_the_talk_the_question_stays() -> None:
    talk = (Turn(question="is it far", answer="no"),)
    assert asyncio.run(LocalRewriter().rewrite("Where is it?", talk)).value == "Where is it?"
    assert leans("Where is it?")


def test_a_question_of_a_conversation_is_searched_as_one_that_stands_alone(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    events: list[Event] = []
    path = tmp_path / "run.jsonl"
    receipt = ask("Where was she born?", library, history=TALK, on_event=events.append, record=path)
    assert receipt.question == "Where was she born?"
    assert receipt.standalone == "Where was she born? (Ilsa Corrin)"
    assert [e.question for e in events if isinstance(e, QuestionRewritten)] == [receipt.standalone]
    assert receipt.steps[0].node == "rewrite"
    assert "Tarn Hollow" in receipt.answer
    assert replay(path).same
    alone = ask("Where was Ilsa Corrin born?", library, history=TALK)
    assert (alone.standalone, alone.steps[0].node) == ("", "rewrite")
    assert ask(QUESTION, library).steps[0].node == "plan"


def test_a_model_rewrites_between_delimiters(library: KnowledgeBase) -> None:
    def rewritten(request: ChatRequest) -> str:
        text = said(request)
        assert text.index("What was the Heron?") < text.index("Ilsa Corrin")
        assert text.endswith("Last question: Where was she born?")
        return json.dumps({"question": "Where was the  first master of the Heron born?"})

    endpoint = reading(by_schema={"RewriteForm": rewritten})
    receipt = ask("Where was she born?", library, history=TALK, model=endpoint)
    assert receipt.standalone == QUESTION
    assert receipt.answer == "Tarn Hollow"
    assert receipt.steps[0].use is not None
    assert receipt.steps[0].use.role == "rewrite"


def test_a_model_that_cannot_rewrite_leaves_it_to_the_rule(library: KnowledgeBase) -> None:
    endpoint = reading(by_schema={"RewriteForm": lambda _: "no JSON"})
    receipt = ask("Where was she born?", library, history=TALK, model=endpoint)
    assert receipt.standalone == "Where was she born? (Ilsa Corrin)"
    assert receipt.fallbacks == 1


def test_an_endless_turn_is_refused(library: KnowledgeBase) -> None:
    with pytest.raises(SettingsError, match="A turn of the history has more than 20,000"):
        ask("Why?", library, history=[Turn(question="x" * 20_001)])


# Streams


def test_a_stream_ends_with_the_receipt(library: KnowledgeBase) -> None:
    heard: list[Event] = []

    async def streamed() -> list[Event]:
        return [e async for e in astream(QUESTION, library, on_event=heard.append)]

    events = asyncio.run(streamed())
    assert events == heard
    assert isinstance(events[-1], Done)
    assert events[-1].receipt.answer == ask(QUESTION, library).answer


def test_a_stream_that_is_closed_ends_its_run(library: KnowledgeBase) -> None:
    async def closed() -> int:
        before = len(asyncio.all_tasks())
        async with aclosing(library.astream(QUESTION)) as events:
            async for _ in events:
                break
        return len(asyncio.all_tasks()) - before

    assert asyncio.run(closed()) == 0


def test_a_stream_raises_what_the_run_raises(library: KnowledgeBase) -> None:
    async def streamed() -> None:
        async for _ in astream(QUESTION, library, strategy="none"):
            pass

    with pytest.raises(SettingsError, match="Unknown strategy 'none'"):
        asyncio.run(streamed())


# Pauses


async def review(state: RunState, run: RunContext) -> StateUpdate:
    """Shows the quotes to somebody, who may end the search."""
    reply: Any = interrupt({"quotes": [item.quote for item in state.evidence]})
    return StateUpdate(stop="max_rounds" if reply == {"go": False} else None)


def reviewed(graph: RunGraph) -> None:
    """Search and read, wait for a reply twice, answer."""
    add_nodes(graph, nodes.retrieve, nodes.refine, review, second)
    add_nodes(graph, nodes.answer, nodes.verify, nodes.receipt)
    order = [START, "retrieve", "refine", "review", "second", "answer", "verify", "receipt", END]
    for one, other in itertools.pairwise(order):
        graph.add_edge(one, other)


async def second(state: RunState, run: RunContext) -> StateUpdate:
    """A second reply; before it, the node searches."""
    await run.corpus.search("Heron", k=1, mode="lexical", where={}, timeout=60.0)
    interrupt("sure?")
    return StateUpdate()


REVIEWED = Strategy(name="reviewed", wire=reviewed)


@pytest.mark.parametrize("model", [False, True])
def test_a_run_waits_for_a_reply_and_is_replayed_with_it(
    library: KnowledgeBase, tmp_path: Path, model: bool
) -> None:
    path, runs = tmp_path / "run.jsonl", tmp_path / "runs"
    kept = over(library, library.corpus, runs)

    def server() -> Any:  # noqa: ANN401
        probed = {"probe": lambda _: '{"word": "qzv7kx"}'}
        return reading(enforces_schema=None, by_schema=probed) if model else None

    with pytest.raises(Paused) as first:
        ask(QUESTION, kept, strategy=REVIEWED, record=path, model=server())
    assert first.value.payload["quotes"]
    assert not path.exists()
    (left,) = unfinished_runs(runs)
    assert left.id == first.value.run
    with pytest.raises(Paused) as again:
        resume(left.id, kept, strategy=REVIEWED, model=server(), reply={"go": False})
    assert (again.value.run, again.value.payload) == (left.id, "sure?")
    receipt = resume(left.id, kept, strategy=REVIEWED, model=server(), reply="yes")
    assert (receipt.stop, bool(receipt.evidence)) == ("max_rounds", True)
    assert unfinished_runs(runs) == ()
    replies = [e.result for e in Recording.read(path).entries if e.kind == "review.reply"]
    assert replies == [{"go": False}, "yes"]
    played = replay(path, strategy=REVIEWED)
    assert (played.same, played.difference) == (True, "")


def test_a_reply_is_given_where_one_is_wanted(library: KnowledgeBase, tmp_path: Path) -> None:
    kept = over(library, library.corpus, tmp_path / "runs")
    with pytest.raises(Paused) as paused:
        ask(QUESTION, kept, strategy=REVIEWED)
    with pytest.raises(SettingsError, match="waits for a reply: pass it to resume"):
        resume(paused.value.run, kept, strategy=REVIEWED)
    with pytest.raises(Paused):
        resume(paused.value.run, kept, strategy=REVIEWED, reply=1)
    assert resume(paused.value.run, kept, strategy=REVIEWED, reply=1).evidence


def test_the_clock_of_a_paused_run_stands_still(
    library: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = over(library, library.corpus, tmp_path / "runs")
    with pytest.raises(Paused) as paused:
        ask(QUESTION, kept, strategy=REVIEWED, budget=Budget(seconds=600.0))
    today = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: today() + 86_400.0)
    with pytest.raises(Paused):
        resume(paused.value.run, kept, strategy=REVIEWED, reply=1)
    receipt = resume(paused.value.run, kept, strategy=REVIEWED, reply=1)
    assert receipt.stop != "out_of_time"
    assert 0 < receipt.usage.seconds < 600


def test_without_a_folder_a_run_cannot_wait(library: KnowledgeBase) -> None:
    with pytest.raises(SettingsError, match="keep_runs"):
        ask(QUESTION, library, strategy=REVIEWED)
