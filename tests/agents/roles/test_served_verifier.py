"""A model as the second judge of claims: when it is asked, what it sees, what its word counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from support.agents import QUESTION, evidence, reading, said
from support.client import Scene

from hoptrail.agents import RunSettings, ask
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.roles.base import ClaimToJudge, Entailment, RoleResult
from hoptrail.agents.roles.verifier import EntailmentVerifier, ServedEntailment, verify
from hoptrail.agents.types import Answer, Claim
from hoptrail.prompts.loader import load
from hoptrail.rag.errors import SettingsError

BORN = evidence(1, "Ilsa Corrin", "She was born at Tarn Hollow on 12 March 1851.")
SIZE = evidence(7, "Tarn Hollow", "It had 1,204 inhabitants in 1900.")
POOL = (BORN, SIZE)
TRUE = Claim(text="Corrin was born at Tarn Hollow.", evidence=("e1",))
COUNTED = Claim(text="Tarn Hollow had 1,204 inhabitants.", evidence=("e7",))
FALSE = Claim(text="Otto Renn was born in 1851.", evidence=("e1",))
WORD = "f" * 16


class Opinions:
    """An entailment model with fixed opinions, by the text of the claim."""

    def __init__(self, **entailed: bool | None) -> None:
        self.by_start = entailed
        self.asked: list[list[str]] = []

    async def judge(
        self, claims: Sequence[ClaimToJudge]
    ) -> RoleResult[tuple[Entailment | None, ...]]:
        self.asked.append([claim.text for claim in claims])
        found = [self.by_start.get(claim.text.split()[0]) for claim in claims]
        return RoleResult(
            value=tuple(
                None
                if one is None
                else Entailment(entailed=one, reason="" if one else "so it says")
                for one in found
            )
        )


def verified(model: Opinions, answer: Answer) -> Answer:
    return asyncio.run(EntailmentVerifier(model).verify(answer, POOL, QUESTION)).value


def answered(text: str, *claims: Claim, extractive: bool = False) -> Answer:
    return Answer(text=text, claims=claims, extractive=extractive)


def test_a_claim_holds_where_code_and_model_agree() -> None:
    model = Opinions(Corrin=True, Tarn=False)
    found = verified(model, answered("Tarn Hollow", TRUE, COUNTED, FALSE))
    assert [(c.verdict, c.checked_by) for c in found.claims] == [
        ("holds", "both"), ("dropped", "model"), ("dropped", "code"),
    ]  # fmt: skip
    assert found.claims[1].reason == "so it says"
    assert (found.text, found.replaced) == ("Tarn Hollow", False)


def test_the_model_is_asked_once_and_not_for_claims_that_the_code_dropped() -> None:
    model = Opinions(Corrin=True, Tarn=True)
    verified(model, answered("Tarn Hollow", FALSE, TRUE, COUNTED))
    assert model.asked == [[TRUE.text, COUNTED.text]]


def test_a_quote_word_for_word_needs_no_model() -> None:
    model = Opinions(She=False)
    quoted = Claim(text=BORN.quote, evidence=("e1",))
    found = verified(model, answered("Tarn Hollow", quoted))
    assert (found.claims[0].verdict, found.claims[0].checked_by) == ("holds", "code")
    assert verified(model, answered("", quoted, extractive=True)).claims[0].verdict == "holds"
    assert model.asked == []


def test_without_an_opinion_the_verdict_is_the_codes() -> None:
    found = verified(Opinions(), answered("Tarn Hollow", TRUE))
    assert (found.claims[0].verdict, found.claims[0].checked_by) == ("holds", "code")


def test_an_answer_loses_the_claim_that_the_model_drops() -> None:
    found = verified(Opinions(Corrin=True, Tarn=False), answered("1,204", TRUE, COUNTED))
    assert (found.text, found.replaced) == (TRUE.text, True)


def test_what_the_model_dropped_stays_dropped_when_the_code_checks_again() -> None:
    found = verified(Opinions(Corrin=True, Tarn=False), answered("Tarn Hollow", TRUE, COUNTED))
    again = verify(found, POOL, QUESTION)
    assert again.claims == found.claims
    without = verify(found, (SIZE,), QUESTION)
    assert [(c.verdict, c.checked_by) for c in without.claims] == [
        ("dropped", "code"), ("dropped", "model"),
    ]  # fmt: skip


def served(reply: object, claims: Sequence[Claim]) -> tuple[Answer, ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(by_schema={"VerifyForm": lambda _: json.dumps(reply)})
    scene = Scene(endpoint)

    async def main() -> Answer:
        await scene.asker.prepare()
        model = ServedEntailment(scene.asker, Delimiters(word=WORD))
        answer = answered("Tarn Hollow", *claims)
        return (await EntailmentVerifier(model).verify(answer, POOL, QUESTION)).value

    return asyncio.run(main()), endpoint


def judged(number: int, label: str) -> dict[str, object]:
    return {"claim": number, "reason": "it says so", "label": label}


def test_all_claims_are_asked_in_one_call_with_their_quotes_numbered_by_position() -> None:
    reply = {"claims": [judged(2, "not_stated"), judged(1, "stated")]}
    found, endpoint = served(reply, [TRUE, COUNTED])
    assert [(c.verdict, c.checked_by, c.reason) for c in found.claims] == [
        ("holds", "both", ""), ("dropped", "model", "not stated: it says so"),
    ]  # fmt: skip
    (request,) = endpoint.requests
    assert said(request) == (
        f"<{WORD} quote 1 of claim 1>\nIlsa Corrin: {BORN.quote}\n</{WORD}>\n"
        f"<{WORD} claim 1>\n{TRUE.text}\n</{WORD}>\n\n"
        f"<{WORD} quote 1 of claim 2>\nTarn Hollow: {SIZE.quote}\n</{WORD}>\n"
        f"<{WORD} claim 2>\n{COUNTED.text}\n</{WORD}>\n\n"
        + load("ask/verify").render(claims="").messages[-1][1].strip()
    )


def test_claims_that_a_reply_leaves_out_or_makes_up_keep_the_codes_verdict() -> None:
    found, _ = served({"claims": [judged(9, "contradicted")]}, [TRUE, COUNTED])
    assert [(c.verdict, c.checked_by) for c in found.claims] == [("holds", "code")] * 2


def test_a_reply_that_cannot_be_used_leaves_the_codes_verdict() -> None:
    found, _ = served({"claims": "all fine"}, [TRUE])
    assert (found.claims[0].verdict, found.claims[0].checked_by) == ("holds", "code")


@pytest.mark.parametrize(
    ("label", "kind", "checked_by"),
    [("stated", "answered", {"both"}), ("contradicted", "quotes", {"code"})],
)
def test_a_run_asks_the_model_where_the_settings_say_so(
    library: KnowledgeBase, label: str, kind: str, checked_by: set[str]
) -> None:
    def reply(_: ChatRequest) -> str:
        return json.dumps({"claims": [judged(1, label)]})

    endpoint = reading(by_schema={"VerifyForm": reply})
    receipt = ask(QUESTION, library, model=endpoint, settings=RunSettings(verification="model"))
    assert receipt.outcome.kind == kind
    assert {claim.checked_by for claim in receipt.claims} == checked_by
    assert (receipt.answer == "Tarn Hollow") == (label == "stated")
    assert [step.use.role for step in receipt.steps if step.use][-1] == "verify"
    assert all(claim.checked_by == "model" for claim in receipt.dropped)


def test_a_run_checks_by_code_alone_by_default(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, model=reading())
    assert [claim.checked_by for claim in receipt.claims] == ["code"]


def test_an_unknown_verification_is_refused() -> None:
    with pytest.raises(SettingsError, match="Unknown verification 'both'"):
        RunSettings(verification="both")  # type: ignore[arg-type]
