"""Models that reply in forms of their own: usable replies are used, others are explained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.agents import QUESTION, reading

from hoptrail.agents import KnowledgeBase, ask
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest
from hoptrail.app.cli.receipt_text import model_problems, receipt_text

Form = Callable[[str], str]

FORMS: dict[str, Form] = {
    "thoughts": lambda good: f'<think>let me see {{"word": "x"}}</think>\n{good}',
    "thoughts that the template began": lambda good: f'Perhaps {{"a": 1}}.\n</think>\n\n{good}',
    "thoughts twice": lambda good: f"<think>{{}}</think>\n<think>no</think>{good}",
    "harmony": lambda good: (
        '<|channel|>analysis<|message|>maybe {"a": 1}<|end|><|start|>assistant'
        f"<|channel|>final<|message|>{good}"
    ),
    "fenced": lambda good: f"Here you are:\n```json\n{good}\n```\nHope that helps! {{}}",
    "python": lambda good: str(json.loads(good)),
    "wrapped": lambda good: json.dumps({"reply": json.loads(good)}),
    "listed": lambda good: f"[{good}]",
    "a further key": lambda good: json.dumps({**json.loads(good), "confidence": 0.9}),
}


class Odd(ScriptedEndpoint):
    """A reader whose every reply is put into another form."""

    def __init__(self, change: Callable[[ChatReply], ChatReply]) -> None:
        super().__init__(enforces_schema=False)
        self.reader = reading()
        self.change = change

    async def attempt(self, request: ChatRequest, **options: Any) -> ChatReply:  # noqa: ANN401
        return self.change(await self.reader.attempt(request, **options))


@pytest.mark.parametrize("form", FORMS)
def test_a_reply_in_a_form_of_its_own_is_used(library: KnowledgeBase, form: str) -> None:
    endpoint = Odd(lambda reply: replace(reply, text=FORMS[form](reply.text)))
    receipt = ask(QUESTION, library, model=endpoint)
    assert (receipt.answer, receipt.fallbacks) == ("Tarn Hollow", 0)
    assert all(step.use.re_asks == 0 for step in receipt.steps if step.use)


def test_a_reply_that_a_server_took_for_thoughts_is_used(library: KnowledgeBase) -> None:
    endpoint = Odd(lambda reply: replace(reply, text="", reasoning=reply.text))
    assert ask(QUESTION, library, model=endpoint).answer == "Tarn Hollow"


def test_why_replies_could_not_be_used_is_said_once_and_in_words(library: KnowledgeBase) -> None:
    def thoughts_only(reply: ChatReply) -> ChatReply:
        return replace(reply, text="", reasoning="hm " * 99, finish_reason="length")

    receipt = ask(QUESTION, library, model=Odd(thoughts_only))
    uses = [step.use for step in receipt.steps if step.use]
    assert receipt.fallbacks == len(uses) > 3
    assert {use.problem for use in uses} == {"the reply was cut off in its thoughts"}
    (line,) = model_problems(receipt)
    assert line.startswith(f"model: no use of {len(uses)} replies (answer, assess, ")
    assert "): the reply was cut off in its thoughts; for thoughts give the role more" in line
    assert f"could not be used {len(uses)} times" in receipt_text(receipt)


def test_a_run_whose_replies_were_used_has_nothing_to_explain(library: KnowledgeBase) -> None:
    receipt = ask(QUESTION, library, model=reading())
    assert list(model_problems(receipt)) == []
    assert all(not step.use.problem for step in receipt.steps if step.use)
