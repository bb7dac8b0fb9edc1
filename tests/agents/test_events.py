"""The one stream of events: typed, in order, and nothing of it leaves the machine."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import reduce
from typing import get_args

import pytest
from support.agents import QUESTION, UNKNOWN, reading

from hoptrail.agents import ask, nodes
from hoptrail.agents.events import (
    Admitted,
    AnswerDelta,
    ClaimVerified,
    Done,
    Event,
    EvidenceAdded,
    HitsFound,
    PlanMade,
    QueryMade,
    QuestionRewritten,
    SlatesScored,
    StepStarted,
    TreeOpened,
    Waiting,
)
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.strategies.registry import STRATEGIES


def heard(library: KnowledgeBase, question: str = QUESTION, **options: object) -> list[Event]:
    events: list[Event] = []
    ask(question, library, on_event=events.append, **options)
    return events


@pytest.mark.parametrize("answer", ["Tarn Hollow", "a town that no passage names", "Not stated."])
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_streamed_text_is_the_receipts_answer(
    library: KnowledgeBase, strategy: str, answer: str
) -> None:
    claims = [{"text": "Ilsa Corrin was born at Maddock Yard.", "evidence": [1]}]
    reply = json.dumps({"claims": claims, "answer": answer})
    said = {"BriefForm": lambda _: reply}
    events = heard(library, strategy=strategy, model=reading(by_schema=said))
    deltas = [event for event in events if isinstance(event, AnswerDelta)]
    done = events[-1]
    assert isinstance(done, Done)
    assert reduce(lambda text, delta: delta.onto(text), deltas, "") == done.receipt.answer


@pytest.mark.parametrize("model", [False, True])
def test_the_stream_of_a_run(library: KnowledgeBase, model: bool) -> None:
    events = heard(library, model=reading() if model else None)
    # Of trees, of runs that wait, and of conversations.
    elsewhere = {TreeOpened, SlatesScored, Waiting, Admitted, QuestionRewritten}
    assert {type(event) for event in events} == set(get_args(Event)) - elsewhere
    done = events[-1]
    assert isinstance(done, Done)
    receipt = done.receipt
    assert [type(event) for event in events].count(Done) == 1
    steps = [(e.node, e.round) for e in events if isinstance(e, StepStarted)]
    assert steps == [
        ("plan", 0), ("retrieve", 1), ("refine", 1), ("assess", 1), ("next_query", 1),
        ("retrieve", 2), ("refine", 2), ("assess", 2), ("answer", 2), ("verify", 2),
        ("receipt", 2),
    ]  # fmt: skip
    assert [e.plan for e in events if isinstance(e, PlanMade)] == [receipt.plan]
    made = [e.query.text for e in events if isinstance(e, QueryMade)]
    found = [e.query.text for e in events if isinstance(e, HitsFound)]
    asked = [step.detail for step in receipt.steps if step.node == "retrieve"]
    assert sorted(made) == sorted(found) == sorted(asked)
    added = [e.evidence.id for e in events if isinstance(e, EvidenceAdded)]
    assert sorted(added) == sorted(item.id for item in receipt.evidence)
    checked = [e.claim for e in events if isinstance(e, ClaimVerified)]
    assert checked == list(receipt.claims)
    assert "".join(e.text for e in events if isinstance(e, AnswerDelta)) == receipt.answer


def between(events: list[Event]) -> dict[str, set[type]]:
    """The kinds of events that each node emits after it has begun."""
    found: dict[str, set[type]] = {}
    node = ""
    for event in events:
        if isinstance(event, StepStarted):
            node = event.node
        else:
            found.setdefault(node, set()).add(type(event))
    return found


@pytest.mark.parametrize("model", [False, True])
def test_each_event_comes_from_its_node(library: KnowledgeBase, model: bool) -> None:
    assert between(heard(library, model=reading() if model else None)) == {
        "plan": {PlanMade}, "retrieve": {QueryMade, HitsFound}, "refine": {EvidenceAdded},
        "answer": {AnswerDelta}, "verify": {ClaimVerified}, "receipt": {Done},
    }  # fmt: skip


def test_a_query_is_made_before_its_hits_are_found(library: KnowledgeBase) -> None:
    events = heard(library)
    for number, event in enumerate(events):
        if isinstance(event, HitsFound):
            assert QueryMade(query=event.query) in events[:number]
            assert len(event.titles) == min(5, event.count)


@pytest.mark.parametrize("form", ["Plan", "Refine", "Assess", "Queries", "Answer"])
def test_what_a_model_says_elsewhere_is_no_answer(library: KnowledgeBase, form: str) -> None:
    """Garbage with the word in it: a fallback plays, and the garbage is never told."""
    endpoint = reading(by_schema={f"{form}Form": lambda _: "BANANAS are the answer"})
    events = heard(library, model=endpoint)
    told = [e for e in events if isinstance(e, AnswerDelta)]
    assert told
    assert not any(delta.restart for delta in told)
    assert not any("BANANAS" in repr(event) for event in events)


def test_an_abstention_tells_no_answer(library: KnowledgeBase) -> None:
    claims = [{"text": "Nothing.", "evidence": [1]}]
    never = json.dumps({"claims": claims, "answer": "Not stated."})
    for events in (
        heard(library, UNKNOWN),
        heard(library, model=reading(by_schema={"BriefForm": lambda _: never})),
    ):
        told = ""
        for event in events:
            told = event.onto(told) if isinstance(event, AnswerDelta) else told
        assert told == "", "what was streamed before the reply was whole is discarded"
        assert isinstance(events[-1], Done)


def test_a_listener_that_fails_is_not_swallowed(library: KnowledgeBase) -> None:
    def listen(event: Event) -> None:
        raise ConnectionResetError("the one who listened has gone")

    with pytest.raises(ConnectionResetError):
        ask(QUESTION, library, on_event=listen)


TRACING = {
    "LANGSMITH_TRACING": "true", "LANGSMITH_TRACING_V2": "true", "LANGCHAIN_TRACING_V2": "true",
    "LANGSMITH_API_KEY": "key", "LANGSMITH_ENDPOINT": "http://192.0.2.1:4318",
    "LANGCHAIN_ENDPOINT": "http://192.0.2.1:4318", "LANGSMITH_OTEL_ENABLED": "true",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://192.0.2.1:4318", "OTEL_TRACES_EXPORTER": "otlp",
}  # fmt: skip


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Tracing switched on as far as variables can; the addresses that sockets asked for."""
    from langsmith import utils

    asked: list[object] = []
    connect = socket.socket.connect

    def noting(self: socket.socket, address: object) -> None:
        asked.append(address)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", noting)
    for name, value in TRACING.items():
        monkeypatch.setenv(name, value)
    utils.get_env_var.cache_clear()
    yield asked
    utils.get_env_var.cache_clear()


@pytest.mark.usefixtures("fresh_graphs")
@pytest.mark.parametrize("model", [False, True])
def test_no_trace_is_sent_whatever_the_variables_say(
    library: KnowledgeBase, traced: list[object], monkeypatch: pytest.MonkeyPatch, model: bool
) -> None:
    from langsmith import run_helpers, utils

    seen: list[tuple[object, object]] = []
    before = nodes.refine

    async def refine(state: RunState, run: RunContext) -> StateUpdate:
        seen.append((utils.tracing_is_enabled(), run_helpers.get_current_run_tree()))
        return await before(state, run)

    monkeypatch.setattr(nodes, "refine", refine)
    assert utils.tracing_is_enabled()  # the variables work, so it is the run that switches it off
    ask(QUESTION, library, model=reading() if model else None)
    assert seen == [(False, None)] * 2
    assert traced == []


def test_ids_of_evidence_are_told_as_they_will_be_cited(library: KnowledgeBase) -> None:
    events = heard(library)
    added = [e.evidence for e in events if isinstance(e, EvidenceAdded)]
    done = events[-1]
    assert isinstance(done, Done)
    final = {item.id: item for item in done.receipt.evidence}
    assert len({item.id for item in added}) == len(added) == len(final)
    for item in added:
        assert (final[item.id].quote, final[item.id].start) == (item.quote, item.start)
