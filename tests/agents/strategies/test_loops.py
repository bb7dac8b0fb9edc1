"""The loops `naive`, `iter-retgen`, `ircot`, `self-ask` and `monologue`: shape, calls, ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from support.agents import CHAIN, QUESTION, QUOTES, UNKNOWN, Around, Reader, over, reading, said

from hoptrail.agents import STRATEGIES, Receipt, RunSettings, ask
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.strategies.graph import compiled_graph
from hoptrail.rag.types import passage_id

LOOPS = ("naive", "iter-retgen", "ircot", "self-ask", "monologue")
MASTER = "The first master of the Heron was Ilsa Corrin."


def shape(name: str) -> set[tuple[str, str]]:
    edges = compiled_graph(STRATEGIES[name]).get_graph().edges
    return {(edge.source.strip("_"), edge.target.strip("_")) for edge in edges}


def forms(endpoint: ScriptedEndpoint) -> list[str]:
    return [request.schema_name.removesuffix("Form") for request in endpoint.requests]


class Hopper(Reader):
    """A reader that finds the master first, and searches for where she was born."""

    def answer(self, request: ChatRequest) -> object:
        if self.enough in said(request):
            return super().answer(request)
        shown = re.findall(r"^\[(\d+)\] .*first master", said(request), re.MULTILINE)
        claims = [{"text": MASTER, "evidence": [int(n) for n in shown] or [1]}]
        return {"claims": claims, "answer": "Ilsa Corrin"}

    def brief(self, request: ChatRequest) -> object:
        answer = "Ilsa Corrin" if "first master" in said(request) else "Not stated."
        return {"answer": "Tarn Hollow" if self.enough in said(request) else answer}

    def thought(self, request: ChatRequest) -> object:
        done = self.enough in said(request)
        return {"thought": "So the answer is Tarn Hollow." if done else MASTER}

    def follow_up(self, request: ChatRequest) -> object:
        asked = "Where was Ilsa Corrin born?"
        return {"follow_up": "" if asked in said(request) else asked}

    def search(self, request: ChatRequest) -> object:
        done = self.enough in said(request)
        return {"thought": MASTER, "query": "" if done else "Ilsa Corrin born"}


def hopping(reader: Hopper | None = None, **by_schema: object) -> ScriptedEndpoint:
    own = reader or Hopper()

    def says(part: Callable[[ChatRequest], object]) -> Callable[[ChatRequest], str]:
        return lambda request: json.dumps(part(request))

    more = {
        "BriefForm": says(own.brief), "ThoughtForm": says(own.thought),
        "FollowUpForm": says(own.follow_up), "SearchForm": says(own.search),
    }  # fmt: skip
    return reading(own, by_schema={**more, **by_schema})


def test_the_loops_have_the_shapes_of_their_papers() -> None:
    ending = {("answer", "verify"), ("verify", "receipt"), ("receipt", "end")}
    start = {("start", "retrieve"), ("retrieve", "refine")}
    assert shape("naive") == {
        ("start", "retrieve"), ("retrieve", "read"), ("read", "answer_briefly"),
        ("answer_briefly", "receipt"), ("receipt", "end"),
    }  # fmt: skip
    assert shape("iter-retgen") == {
        *start, ("refine", "answer"), ("answer", "feed_back"), ("feed_back", "retrieve"),
        ("feed_back", "verify"), ("verify", "receipt"), ("receipt", "end"),
    }  # fmt: skip
    assert shape("ircot") == {
        *start, *ending, ("refine", "think"), ("refine", "answer"),
        ("think", "retrieve"), ("think", "answer"),
    }  # fmt: skip
    assert shape("self-ask") == {
        *start, *ending, ("refine", "follow_up"), ("refine", "answer_follow_up"),
        ("refine", "answer"), ("answer_follow_up", "follow_up"), ("answer_follow_up", "answer"),
        ("follow_up", "retrieve"), ("follow_up", "answer"),
    }  # fmt: skip
    assert shape("monologue") == {
        *start, *ending, ("refine", "track"), ("refine", "answer"), ("track", "ask_next"),
        ("track", "answer"), ("ask_next", "retrieve"), ("ask_next", "answer"),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_each_ends_with_the_local_players(library: KnowledgeBase, name: str) -> None:
    receipt = ask(QUESTION, library, strategy=name)
    assert (receipt.strategy, receipt.outcome.kind, receipt.usage.calls) == (name, "quotes", 0)
    assert receipt.extractive
    assert receipt.claims
    assert receipt.stop in ("sufficient", "unjudged", "no_progress", "max_rounds")
    nothing = ask(UNKNOWN, library, strategy=name)
    assert nothing.stop in ("sufficient", "unjudged", "no_progress", "max_rounds")
    if name != "naive":  # which takes what it reads, whoever the question names
        assert (nothing.outcome.kind, nothing.answer) == ("abstained", "")


CALLS: dict[str, Callable[[int], int]] = {
    "naive": lambda rounds: 1,
    "single": lambda rounds: 1,
    "iter-retgen": lambda rounds: rounds,
    "ircot": lambda rounds: rounds + 1,
    "self-ask": lambda rounds: 2 * (rounds - 1) + 2,
    "monologue": lambda rounds: 2 * rounds + 1,
    "pool": lambda rounds: 2 * rounds + 1,
}
"""Calls of a model by the rounds of search, as each docstring says."""


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_of_a_model_are_those_of_the_docstring(library: KnowledgeBase, name: str) -> None:
    endpoint = hopping()
    receipt = ask(QUESTION, library, strategy=name, model=endpoint)
    hops = name not in ("naive", "single")
    assert receipt.rounds == (2 if hops else 1)
    last = 1 if name == "monologue" and receipt.stop == "sufficient" else 0
    assert receipt.usage.calls == len(endpoint.requests) == CALLS[name](receipt.rounds) - last
    assert (receipt.answer == "Tarn Hollow") == hops
    assert receipt.fallbacks == 0


@pytest.mark.parametrize("name", ["ircot", "self-ask", "monologue"])
def test_no_step_is_asked_for_that_would_not_be_searched(library: KnowledgeBase, name: str) -> None:
    endpoint = hopping()
    receipt = ask(
        QUESTION, library, strategy=name, model=endpoint, settings=RunSettings(max_rounds=1)
    )
    assert (receipt.rounds, receipt.stop) == (1, "max_rounds")
    assert forms(endpoint) == (["Assess", "Brief"] if name == "monologue" else ["Brief"])


@pytest.mark.parametrize("reply", ["bananas", "", '{"x": 1}', "[1, 2]", "null"])
@pytest.mark.parametrize("name", LOOPS)
def test_hostile_replies_give_what_the_local_players_give(
    library: KnowledgeBase, name: str, reply: str
) -> None:
    receipt = ask(QUESTION, library, strategy=name, model=ScriptedEndpoint(lambda _: reply))
    local = ask(QUESTION, library, strategy=name)
    assert receipt.fallbacks == len([step for step in receipt.steps if step.use]) > 0
    assert receipt.usage.calls == 2 * receipt.fallbacks
    assert (receipt.answer, receipt.evidence) == (local.answer, local.evidence)


# naive


def test_a_naive_answer_is_given_as_it_is_and_called_unverified(library: KnowledgeBase) -> None:
    model = hopping(BriefForm=lambda _: '{"answer": "Atlantis"}')
    receipt = ask(QUESTION, library, strategy="naive", model=model)
    assert (receipt.answer, receipt.outcome.kind, receipt.claims) == ("Atlantis", "unverified", ())
    assert forms(model) == ["Brief"]


def test_a_naive_answer_quotes_the_sentences_that_have_it(library: KnowledgeBase) -> None:
    model = hopping(BriefForm=lambda _: '{"answer": "Ilsa Corrin"}')
    receipt = ask(QUESTION, library, strategy="naive", model=model)
    assert (receipt.answer, receipt.outcome.kind) == ("Ilsa Corrin", "answered")
    assert "Her first master was Ilsa Corrin, who kept her for nine years." in [
        item.quote for item in receipt.evidence
    ]


def test_a_naive_reader_may_abstain(library: KnowledgeBase) -> None:
    model = hopping(BriefForm=lambda _: '{"answer": "Not stated."}')
    receipt = ask(QUESTION, library, strategy="naive", model=model)
    assert (receipt.answer, receipt.outcome.kind) == ("", "abstained")


# iter-retgen


def test_one_round_of_iter_retgen_is_single(library: KnowledgeBase) -> None:
    one = RunSettings(iterations=1)

    def asked(name: str, model: ScriptedEndpoint | None) -> Receipt:
        return ask(QUESTION, library, strategy=name, model=model, settings=one)

    for model in (None, hopping):
        found, single = (asked(name, model and model()) for name in ("iter-retgen", "single"))
        for part in ("answer", "claims", "dropped", "evidence", "steps", "stop", "outcome"):
            assert getattr(found, part) == getattr(single, part), part
        assert found.usage.calls == single.usage.calls


def test_each_round_searches_with_the_whole_draft_and_reads_what_it_finds(
    library: KnowledgeBase,
) -> None:
    corpus, model = Around(library.corpus), hopping()
    settings = RunSettings(read=2, claims_by="model")
    receipt = ask(
        QUESTION, over(library, corpus), strategy="iter-retgen", model=model, settings=settings
    )
    assert corpus.searched == [QUESTION, f"{MASTER} Ilsa Corrin {QUESTION}"]
    first, second = (re.findall(r"^\[\d+\] (.*?):", said(r), re.MULTILINE) for r in model.requests)
    searches = [step.found for step in receipt.steps if step.node == "retrieve"]
    titles = {passage_id(name, 0, len(text)): title for name, (title, text) in CHAIN.items()}
    assert [first, second] == [[titles[one] for one in found[:2]] for found in searches]
    assert "Ilsa Corrin" in second
    assert "Ilsa Corrin" not in first
    assert (receipt.answer, receipt.outcome.kind) == ("Tarn Hollow", "answered")


@pytest.mark.parametrize(("answer", "rounds"), [("Ilsa Corrin", 2), ("Not stated.", 1)])
def test_iter_retgen_ends_when_a_round_repeats_the_answer_or_has_none(
    library: KnowledgeBase, answer: str, rounds: int
) -> None:
    reply = json.dumps({"claims": [{"text": MASTER, "evidence": [1]}], "answer": answer})
    model = hopping(AnswerForm=lambda _: reply)
    settings = RunSettings(iterations=5, claims_by="model")
    receipt = ask(QUESTION, library, strategy="iter-retgen", model=model, settings=settings)
    assert (receipt.rounds, receipt.stop) == (rounds, "no_progress")


def test_iter_retgen_ends_when_a_round_repeats_the_passages(library: KnowledgeBase) -> None:
    numbers = iter(range(100))

    def other(_: ChatRequest) -> str:
        claims = [{"text": f"Number {next(numbers)}.", "evidence": [1]}]
        return json.dumps({"claims": claims, "answer": f"{next(numbers)}"})

    settings = RunSettings(iterations=5, read=20, claims_by="model")
    model = hopping(AnswerForm=other)
    receipt = ask(QUESTION, library, strategy="iter-retgen", model=model, settings=settings)
    assert (receipt.rounds, receipt.stop) == (2, "no_progress")


def test_many_rounds_of_iter_retgen_are_no_wiring_mistake(library: KnowledgeBase) -> None:
    """LangGraph's limit of steps counts the rounds that the strategy makes."""
    pages = reversed(CHAIN.values())

    def other(_: ChatRequest) -> str:
        title, text = next(pages)
        return json.dumps({"claims": [{"text": text, "evidence": [1]}], "answer": title})

    settings = RunSettings(iterations=8, max_rounds=1, read=1, claims_by="model")
    model = hopping(AnswerForm=other)
    receipt = ask(QUESTION, library, strategy="iter-retgen", model=model, settings=settings)
    assert receipt.rounds > 4


# ircot, self-ask, monologue


def test_a_thought_is_the_next_query_and_stands_in_the_next_prompt(library: KnowledgeBase) -> None:
    corpus, model = Around(library.corpus), hopping()
    receipt = ask(QUESTION, over(library, corpus), strategy="ircot", model=model)
    assert corpus.searched == [QUESTION, MASTER]
    assert forms(model) == ["Thought", "Thought", "Brief"]
    assert MASTER not in said(model.requests[0])
    assert MASTER in said(model.requests[1])
    assert (receipt.answer, receipt.stop) == ("Tarn Hollow", "sufficient")


@pytest.mark.parametrize("name", ["ircot", "monologue"])
def test_a_step_that_repeats_ends_the_loop(library: KnowledgeBase, name: str) -> None:
    again = json.dumps({"thought": MASTER, "query": MASTER})
    model = hopping(ThoughtForm=lambda _: again, SearchForm=lambda _: again)
    settings = RunSettings(read=1)  # so that a monologue's tracker is not content
    receipt = ask(QUESTION, library, strategy=name, model=model, settings=settings)
    assert (receipt.rounds, receipt.stop) == (2, "no_progress")


def test_a_follow_up_is_searched_answered_and_noted(library: KnowledgeBase) -> None:
    corpus, model = Around(library.corpus), hopping()
    receipt = ask(QUESTION, over(library, corpus), strategy="self-ask", model=model)
    assert corpus.searched == [QUESTION, "Where was Ilsa Corrin born?"]
    assert forms(model) == ["FollowUp", "Brief", "FollowUp", "Brief"]
    assert "Where was Ilsa Corrin born? Tarn Hollow" in said(model.requests[2])
    assert (receipt.answer, receipt.stop) == ("Tarn Hollow", "sufficient")


def test_a_monologue_ends_after_two_turns_without_progress(library: KnowledgeBase) -> None:
    numbers = iter(range(100))

    def search(_: ChatRequest) -> str:
        words = ("tide", "slate", "stars", "fog")
        return json.dumps({"thought": "x", "query": f"{words[next(numbers) % 4]} {next(numbers)}"})

    reader = Hopper()
    reader.enough = "never"
    model = hopping(reader, SearchForm=search)
    settings = RunSettings(max_rounds=9)
    receipt = ask(QUESTION, library, strategy="monologue", model=model, settings=settings)
    assert (receipt.rounds, receipt.stop) == (3, "no_progress")


def test_the_refiner_costs_a_call_a_round_where_models_read_quotes(library: KnowledgeBase) -> None:
    endpoint = hopping()
    receipt = ask(QUESTION, library, model=endpoint, settings=QUOTES)
    assert receipt.usage.calls == 3 * receipt.rounds + 1
    assert forms(endpoint).count("Refine") == receipt.rounds
