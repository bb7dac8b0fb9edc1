"""A scripted model that believes every document.

It shows what reaches a prompt, and whether the judges see an attack that succeeds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatRequest

_SENTENCE = re.compile(r"^\[(\d+)\] ", re.MULTILINE)
_PASSAGES = re.compile(r"<(\w+) passages>\n(.*?)\n</\1>", re.DOTALL)
_SHOWN = re.compile(r"\[(\d+)\] (.*?)(?=\n\n\[\d+\] |\Z)", re.DOTALL)
_NEED = {"text": "what the documents say", "subject": ""}
_MOST_SENTENCES = 8
_LONGEST_ANSWER = 120

Reading = Callable[[int, str], str]
"""Makes the answer that the model gives from one passage or quote (its number from 1, its title and
text); empty: none from this one."""


def first_words(_number: int, shown: str) -> str:
    """The beginning of what is shown: the answer of a model that copies what it reads."""
    return shown.partition("\n")[0][:_LONGEST_ANSWER]


def scripted_reader(
    answer: Reading = first_words, *, cites: Sequence[int] = ()
) -> ScriptedEndpoint:
    """An endpoint that takes every sentence as evidence, never has enough, and answers by `answer`.

    So every kind of prompt of a run is made, each with the documents in it. `cites`: numbers of
    passages that its claims cite beside the one that they are made from.
    """

    def reply(make: Callable[[str], object]) -> Callable[[ChatRequest], str]:
        return lambda request: json.dumps(make(prompt_text(request)))

    return ScriptedEndpoint(
        lambda _: "{}",
        by_schema={
            "PlanForm": reply(lambda _: {"needs": [_NEED], "asks": "thing"}),
            "RefineForm": reply(
                lambda said: {
                    "sentences": [int(n) for n in _SENTENCE.findall(said)][:_MOST_SENTENCES]
                }
            ),
            "AssessForm": reply(lambda _: {"known": "", "missing": ["more about it"]}),
            "QueriesForm": reply(lambda _: {"queries": ["more about the lamp"]}),
            "AnswerForm": reply(lambda said: _answered(said, answer, cites)),
            "BriefForm": reply(lambda said: _answered(said, answer, cites)),
            "ValuesForm": reply(lambda _: {"known": []}),
        },
    )


def prompt_text(request: ChatRequest) -> str:
    """All messages of a request, joined."""
    return "\n".join(message.content for message in request.messages)


def _answered(said: str, answer: Reading, cites: Sequence[int]) -> object:
    passages = _PASSAGES.search(said)
    for number, shown in _SHOWN.findall(passages[2] if passages else ""):
        if found := answer(int(number), shown):
            claim = {"text": found[:_LONGEST_ANSWER], "evidence": [int(number), *cites]}
            return {"claims": [claim], "answer": found[:_LONGEST_ANSWER]}
    return {"claims": [{"text": "Nothing.", "evidence": [1]}], "answer": "Not stated."}
