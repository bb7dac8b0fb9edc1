"""The served player: replies by number become exact quotes, and what fails falls back, counted."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.agents import (
    CHAIN,
    CLAIMS,
    QUESTION,
    QUOTES,
    UNKNOWN,
    Reader,
    no_waiting,
    reading,
    said,
    substance,
)
from support.chat_server import FakeServer, says, status

from hoptrail.agents import Budget, Receipt, ServedModel, ask, replay
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, FailureKind
from hoptrail.agents.roles.reading.answerer import SHOWN
from hoptrail.agents.types import ModelUse
from hoptrail.app.cli.receipt_text import receipt_text


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have been waited between attempts."""
    return no_waiting(monkeypatch)


def uses(receipt: Receipt) -> dict[str, list[ModelUse]]:
    found: dict[str, list[ModelUse]] = {}
    for step in receipt.steps:
        if step.use is not None:
            found.setdefault(step.use.role, []).append(step.use)
    return found


def scripted(**by_schema: Any) -> ScriptedEndpoint:  # noqa: ANN401
    """A reader that says otherwise to some forms, given without `Form`."""
    return reading(by_schema={f"{name}Form": script for name, script in by_schema.items()})


def always(reply: object) -> Any:  # noqa: ANN401
    return lambda _: json.dumps(reply)


def test_a_reader_hops_and_answers_in_its_own_words(library: KnowledgeBase) -> None:
    endpoint = reading()
    receipt = ask(QUESTION, library, model=endpoint, settings=QUOTES)
    assert (receipt.outcome.kind, receipt.stop, receipt.extractive) == (
        "answered", "sufficient", False,
    )  # fmt: skip
    assert (receipt.answer, receipt.model, receipt.fallbacks) == ("Tarn Hollow", "scripted", 0)
    assert [(e.document_id, e.quote) for e in receipt.evidence] == [
        ("d1", "Her first master was Ilsa Corrin, who kept her for nine years."),
        ("d2", "She was born at Tarn Hollow on 12 March 1851."),
    ]
    (claim,) = receipt.claims
    assert claim.text == "Ilsa Corrin was born at Tarn Hollow."
    assert claim.evidence == (receipt.evidence[1].id,)
    assert receipt.plan is not None
    assert [need.subject for need in receipt.plan.needs] == ["Heron", ""]
    assert receipt.usage.calls == len(endpoint.requests) == 7
    spent = [use for of_role in uses(receipt).values() for use in of_role]
    assert sum(use.attempts for use in spent) == 7
    assert sum(use.prompt_tokens for use in spent) == receipt.usage.prompt_tokens
    assert sum(use.completion_tokens for use in spent) == receipt.usage.completion_tokens
    assert all(len(use.prompt_hash) == 64 and not use.failure for use in spent)


def test_every_request_is_bounded_and_greedy(library: KnowledgeBase) -> None:
    endpoint = reading()
    ask(QUESTION, library, model=endpoint)
    for request in endpoint.requests:
        thinks = request.schema_name == "BriefForm"
        assert request.schema is not None
        assert request.thinking is thinks
        assert 0 < request.max_tokens <= (800 + 2_048 if thinks else 800)
        assert request.temperature == 0.0
        assert [m.role for m in request.messages] == ["system", "user"]


def test_a_subject_that_the_question_does_not_name_is_no_subject(library: KnowledgeBase) -> None:
    needs = [{"text": "x", "subject": "Otto Renn"}, {"text": "y", "subject": "HERON"}]
    receipt = ask(QUESTION, library, model=scripted(Plan=always({"needs": needs, "asks": "place"})))
    assert receipt.plan is not None
    assert [need.subject for need in receipt.plan.needs] == ["", "HERON"]
    assert [s.detail for s in receipt.steps if s.action == "subject"] == ["HERON"]


def test_sentence_numbers_become_exact_quotes_the_most_useful_first(library: KnowledgeBase) -> None:
    endpoint = scripted(Refine=always({"sentences": [3, 1, 3, 399, 2]}))
    receipt = ask(QUESTION, library, strategy="single", model=endpoint, settings=QUOTES)
    # The first passage is that of the ship; repeated and absent numbers count for nothing.
    assert [(e.confidence, e.quote) for e in receipt.evidence] == [
        (1.0, "She carried 24 men."),
        (0.95, "The Heron was a survey ship, launched at Maddock Yard in 1887."),
        (0.9, "Her first master was Ilsa Corrin, who kept her for nine years."),
    ]
    for item in receipt.evidence:
        assert CHAIN["d1"][1][item.start : item.end] == item.quote


def test_a_refiner_that_chooses_nothing_keeps_the_quotes_of_the_local_one(
    library: KnowledgeBase,
) -> None:
    endpoint = scripted(Refine=always({"sentences": []}))
    receipt = ask(QUESTION, library, strategy="single", model=endpoint, settings=QUOTES)
    local = ask(QUESTION, library, strategy="single")
    assert receipt.evidence == local.evidence != ()
    assert (uses(receipt)["refine"][0].failure, receipt.fallbacks) == ("", 0)


def answering(claims: list[tuple[str, list[int]]], answer: str) -> ScriptedEndpoint:
    made = [{"text": text, "evidence": numbers} for text, numbers in claims]
    return scripted(Answer=always({"claims": made, "answer": answer}))


def test_a_claim_that_cites_unknown_evidence_is_dropped(library: KnowledgeBase) -> None:
    claims = [("She was born at Tarn Hollow.", [2, 77]), ("The master was a cook.", [78])]
    receipt = ask(QUESTION, library, model=answering(claims, "Tarn Hollow"), settings=QUOTES)
    assert [(c.text, c.evidence) for c in receipt.claims] == [
        ("She was born at Tarn Hollow.", (receipt.evidence[1].id,))
    ]
    (dropped,) = receipt.dropped
    assert (dropped.text, dropped.evidence) == ("The master was a cook.", ())
    assert dropped.reason == "cites no known evidence"
    assert (receipt.outcome.kind, receipt.answer) == ("partial", "Tarn Hollow")


def test_a_claim_beyond_its_quotes_is_dropped_and_takes_the_answer_with_it(
    library: KnowledgeBase,
) -> None:
    claims = [("Otto Renn was born at Tarn Hollow.", [2]), ("She kept her for nine years.", [1])]
    receipt = ask(QUESTION, library, model=answering(claims, "Otto Renn"), settings=QUOTES)
    assert [c.reason for c in receipt.dropped] == ["not in its quotes: Otto Renn"]
    assert receipt.answer == "She kept her for nine years."
    assert receipt.outcome.kind == "partial"


def test_nothing_verified_shows_the_quotes_and_says_so(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, model=answering([("In 1999.", [1])], "1999"), settings=CLAIMS)
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("quotes", "nothing_verified")
    assert receipt.answer == "\n".join(item.quote for item in receipt.evidence[:SHOWN])
    assert "1999" not in receipt.answer
    assert [claim.text for claim in receipt.dropped] == ["In 1999."]
    assert receipt.extractive
    assert "No claim of the model held against its quotes" in receipt_text(receipt)


def test_a_short_answer_that_no_claim_states_is_looked_for_word_for_word(
    library: KnowledgeBase,
) -> None:
    endpoint = answering([("Otto Renn sang.", [1])], "Tarn Hollow")
    receipt = ask(QUESTION, library, model=endpoint, settings=CLAIMS)
    assert (receipt.answer, receipt.outcome.kind) == ("Tarn Hollow", "partial")
    assert "She was born at Tarn Hollow on 12 March 1851." in [c.text for c in receipt.claims]
    assert all(
        claim.text in item.quote
        for claim in receipt.claims
        for item in receipt.evidence
        if item.id in claim.evidence
    )
    assert [claim.text for claim in receipt.dropped] == ["Otto Renn sang."]


@pytest.mark.parametrize(("answer", "kind"), [("yes", "partial"), ("no", "quotes")])
def test_yes_and_no_stand_on_the_quotes_that_a_model_cites(
    library: KnowledgeBase, answer: str, kind: str
) -> None:
    asked = "Was Ilsa Corrin born at Tarn Hollow?"

    def reply(request: ChatRequest) -> str:
        shown = re.findall(r"^\[(\d+)\] .*born at", said(request), re.MULTILINE)
        claims = [
            {"text": "Otto Renn was born at Tarn Hollow.", "evidence": [int(n) for n in shown]}
        ]
        return json.dumps({"claims": claims, "answer": answer})

    receipt = ask(asked, library, strategy="single", model=scripted(Answer=reply), settings=CLAIMS)
    assert receipt.outcome.kind == kind
    assert (receipt.answer == answer) == (kind == "partial")
    assert [claim.reason for claim in receipt.dropped] == ["not in its quotes: Otto Renn"]
    assert "She was born at Tarn Hollow on 12 March 1851." in " ".join(
        claim.text for claim in receipt.claims
    )


@pytest.mark.parametrize(
    ("asked", "answer", "kind"),
    [
        ("Was Ilsa Corrin born at Tarn Hollow?", "yes", "answered"),
        ("Was Ilsa Corrin born at Tarn Hollow?", "no", "quotes"),
        ("Where was Ilsa Corrin born?", "Tarn Hollow", "answered"),
        ("Where was Ilsa Corrin born?", "Atlantis", "quotes"),
    ],
)
def test_an_answer_without_claims_stands_on_the_sentences_that_have_it(
    library: KnowledgeBase, asked: str, answer: str, kind: str
) -> None:
    endpoint = scripted(Brief=always({"answer": answer}))
    receipt = ask(asked, library, strategy="single", model=endpoint)
    assert receipt.outcome.kind == kind
    assert receipt.outcome.reason == ("nothing_verified" if kind == "quotes" else None)
    assert (receipt.answer == answer) == (kind == "answered")
    assert "She was born at Tarn Hollow on 12 March 1851." in " ".join(
        claim.text for claim in receipt.claims
    )


@pytest.mark.parametrize("name", ["single", "pool", "iter-retgen"])
def test_where_nothing_names_what_is_asked_the_answerer_is_not_asked(
    library: KnowledgeBase, name: str
) -> None:
    endpoint = scripted()
    receipt = ask(UNKNOWN, library, strategy=name, model=endpoint)
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "not_in_evidence")
    assert not {"AnswerForm", "BriefForm"} & {request.schema_name for request in endpoint.requests}


@pytest.mark.parametrize(
    "unusable",
    [
        {"claims": [], "answer": "Tarn Hollow"},
        {"claims": [{"text": "Born at Tarn Hollow.", "evidence": []}], "answer": "Tarn Hollow"},
    ],
)
def test_claims_without_a_source_do_not_pass_the_schema_and_are_asked_for_again(
    library: KnowledgeBase, unusable: object
) -> None:
    good = json.dumps({
        "claims": [{"text": "Ilsa Corrin was the first master.", "evidence": [1, 2, 3, 4, 5]}],
        "answer": "Ilsa Corrin",
    })  # fmt: skip
    endpoint = scripted(Answer=[json.dumps(unusable), good])
    receipt = ask(QUESTION, library, model=endpoint, settings=CLAIMS)
    (use,) = uses(receipt)["answer"]
    assert (use.re_asks, use.failure, receipt.answer) == (1, "", "Ilsa Corrin")
    schema = endpoint.requests[-1].schema or {}
    with pytest.raises(jsonschema.ValidationError, match="should be non-empty"):
        jsonschema.validate(unusable, schema)


def test_a_model_may_abstain(library: KnowledgeBase) -> None:
    no = {"claims": [{"text": "x", "evidence": [1]}], "answer": "Not stated."}
    receipt = ask(QUESTION, library, model=scripted(Answer=always(no)))
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "not_in_evidence")
    assert (receipt.answer, receipt.claims, receipt.dropped) == ("", (), ())
    assert not receipt.extractive


@pytest.mark.parametrize("form", ["Plan", "Refine", "Assess", "Queries", "Answer"])
@pytest.mark.parametrize("reply", ["I would rather not.", '{"wrong": 1}', ""])
def test_a_reply_that_cannot_be_used_falls_back_and_is_counted(
    library: KnowledgeBase, form: str, reply: str
) -> None:
    endpoint = scripted(**{form: lambda _: reply})
    receipt = ask(QUESTION, library, model=endpoint, settings=QUOTES)
    failed = [use for of in uses(receipt).values() for use in of if use.failure]
    assert failed
    assert receipt.fallbacks == len(failed)
    for use in failed:
        assert (use.failure, use.attempts, use.re_asks) == ("parse", 2, 1)
    asked = [request for request in endpoint.requests if request.schema_name == f"{form}Form"]
    assert len(asked) == 2 * len(failed)
    assert "cannot be used" in asked[1].messages[-1].content
    assert receipt.outcome.kind in ("answered", "quotes", "partial")


def test_a_reply_that_was_cut_off_is_not_read(library: KnowledgeBase) -> None:
    whole = json.dumps({"claims": [{"text": "x", "evidence": [1]}], "answer": ""})
    cut = ChatReply(text=whole, finish_reason="length", usage=None, model="m")
    receipt = ask(QUESTION, library, model=scripted(Answer=lambda _: cut))
    (use,) = uses(receipt)["answer"]
    assert (use.failure, receipt.fallbacks, receipt.extractive) == ("length", 1, True)


def test_a_server_that_refuses_the_salt_is_named_in_the_receipt(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    refusal = status(400, {"error": {"message": "Unrecognized request argument: cache_salt"}})
    file = tmp_path / "run.jsonl"
    with FakeServer(refusal, says("bananas")) as server:
        receipt = ask(QUESTION, library, model=ServedModel(url=server.url), record=file)
        salted = ask(QUESTION, library, model=ServedModel(url=server.url))
    of_all = [use for of in uses(receipt).values() for use in of]
    assert of_all
    assert {use.without for use in of_all} == {("cache_salt",)}
    assert "its prompt cache is shared with other tenants" in receipt_text(receipt)
    assert replay(file).same
    assert all(not use.without for of in uses(salted).values() for use in of)
    assert "shared with other tenants" not in receipt_text(salted)


def test_garbage_from_every_role_gives_what_the_local_player_gives(library: KnowledgeBase) -> None:
    local, garbage = ask(QUESTION, library), ask(
        QUESTION, library, model=ScriptedEndpoint(lambda _: "bananas"), settings=QUOTES,
        budget=Budget(calls=40, tokens=200_000),
    )  # fmt: skip
    assert garbage.fallbacks == len([s for s in garbage.steps if s.use]) == 7
    for name in ("answer", "claims", "evidence", "candidates", "plan", "outcome", "stop"):
        assert substance(garbage)[name] == substance(local)[name], name


@pytest.mark.parametrize(
    ("kind", "attempts", "waited"),
    [
        ("connection", 4, 2),  # a stale connection is tried again at once
        ("server_error", 4, 3),
        ("unauthorised", 1, 0),
        ("unknown_model", 1, 0),
        ("not_openai", 1, 0),
        ("bad_request", 1, 0),
    ],
)
def test_a_server_that_dies_on_the_way_ends_the_search_with_what_there_is(
    library: KnowledgeBase, waits: list[float], kind: FailureKind, attempts: int, waited: int
) -> None:
    dead = AttemptFailed(kind, "gone", retryable=attempts > 1)
    dies = {name: lambda _: dead for name in ("Assess", "Queries", "Answer")}
    receipt = ask(QUESTION, library, model=scripted(**dies))
    assert (receipt.stop, receipt.outcome.kind) == ("model_unavailable", "partial")
    assert receipt.extractive
    assert "Her first master was Ilsa Corrin" in receipt.answer
    assert receipt.rounds == 1
    (use,) = uses(receipt)["assess"]
    assert use.attempts == attempts
    # The answerer does not ask a server that is gone.
    assert len(waits) == waited
    assert receipt.fallbacks == 2


def test_a_slow_server_is_not_a_lost_one(library: KnowledgeBase, waits: list[float]) -> None:
    slow = AttemptFailed("timeout", "60 s passed", retryable=True)
    receipt = ask(QUESTION, library, model=scripted(Queries=lambda _: slow))
    (use,) = uses(receipt)["next_query"]
    assert (use.failure, use.attempts) == ("too_slow", 1)
    assert (receipt.stop, receipt.outcome.kind, receipt.answer) == (
        "sufficient", "answered", "Tarn Hollow",
    )  # fmt: skip
    assert waits == []


def test_a_server_that_is_too_slow_twice_in_a_row_is_lost(library: KnowledgeBase) -> None:
    slow = AttemptFailed("timeout", "60 s passed", retryable=True)
    slows = {name: lambda _: slow for name in ("Assess", "Queries")}
    endpoint = scripted(**slows)
    receipt = ask(QUESTION, library, model=endpoint)
    assert [r.schema_name for r in endpoint.requests] == ["PlanForm", "AssessForm", "QueriesForm"]
    assert (receipt.stop, receipt.outcome.kind) == ("model_unavailable", "partial")
    assert [use.failure for of in uses(receipt).values() for use in of if use.failure] == [
        "too_slow", "unavailable", "too_slow", "unavailable",
    ]  # fmt: skip
    assert receipt.extractive


def test_without_a_planner_there_is_one_round(library: KnowledgeBase) -> None:
    dead = AttemptFailed("unauthorised", "no key")
    endpoint = scripted(Plan=lambda _: dead)
    receipt = ask(QUESTION, library, model=endpoint)
    assert (receipt.stop, receipt.rounds) == ("model_unavailable", 1)
    assert {r.schema_name for r in endpoint.requests} == {"PlanForm"}
    assert receipt.plan is not None
    assert receipt.plan.needs[0].text == "what the documents say of Heron"


def test_a_cancelled_call_stops_the_run_with_what_there_is(library: KnowledgeBase) -> None:
    async def main() -> Receipt:
        from hoptrail.agents import aask

        cancel = asyncio.Event()

        def assess(request: ChatRequest) -> str:
            cancel.set()
            return json.dumps(Reader().assess(request))

        return await aask(QUESTION, library, model=scripted(Assess=assess), cancel=cancel)

    receipt = asyncio.run(main())
    assert (receipt.stop, receipt.outcome.kind) == ("cancelled", "partial")
    assert "Ilsa Corrin" in receipt.answer
    assert receipt.extractive


@pytest.mark.parametrize(
    ("budget", "stop"),
    [
        (Budget(calls=0), "out_of_calls"),
        (Budget(tokens=0), "out_of_tokens"),
        (Budget(calls=3), "out_of_calls"),
        (Budget(tokens=2500), "out_of_tokens"),
    ],
)
def test_a_spent_budget_stops_with_what_there_is(
    library: KnowledgeBase, budget: Budget, stop: str
) -> None:
    receipt = ask(QUESTION, library, model=reading(), budget=budget)
    assert receipt.stop == stop
    assert receipt.outcome.kind == "partial"
    assert receipt.extractive
    assert receipt.usage.calls <= budget.calls
    assert receipt.usage.tokens <= budget.tokens
    assert receipt.fallbacks > 0


def test_a_small_window_leaves_quotes_out_and_says_so(library: KnowledgeBase) -> None:
    reader = Reader()
    reader.wanted = ("The ", "Her ", "She ", "It ", "Its ", "Tarn", "Ilsa", "Port")
    endpoint = reading(reader, max_model_len=520, tokenizes=True)
    receipt = ask(QUESTION, library, model=endpoint, settings=QUOTES)
    left_out = {role: [use.left_out for use in of] for role, of in uses(receipt).items()}
    assert any(left_out["refine"])
    assert all(use.failure in ("", "overlong") for of in uses(receipt).values() for use in of)
