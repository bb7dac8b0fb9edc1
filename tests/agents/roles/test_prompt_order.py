"""What prompts have in common: one system text, passages first, the question last, no leaks."""

from __future__ import annotations

import json

import pytest
from support.agents import QUESTION, QUOTES, Reader, reading, said
from support.prompts import SHIPPED

from hoptrail.agents import STRATEGIES, ask
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.delimiters import PLACEHOLDER, Delimiters
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.prompts.loader import load

ASK = [name for name in SHIPPED if name.startswith(("ask/", "reason/", "rank/", "expand/"))]
FIRST = {
    "ask/rewrite": "$conversation",
    "ask/verify": "$claims",
    "reason/prove": "$claims",
    "ask/plan": "Plan how",
    "ask/plan_steps": "Plan the searches",
}


@pytest.mark.parametrize("name", ASK)
def test_each_begins_with_the_same_system_text_and_ends_with_the_question(name: str) -> None:
    system, user = load(name).messages
    assert system == load("ask/answer").messages[0]
    assert user[1].startswith(FIRST.get(name, "$passages\n"))
    if FIRST.get(name) != "$claims":  # verifiers are not shown the question
        assert user[1].rsplit("\n", 1)[1].endswith("uestion: $question")


@pytest.mark.parametrize("settings", [QUOTES, None])
def test_in_a_run_passages_come_first_and_the_question_last(
    library: KnowledgeBase, settings: object
) -> None:
    endpoint = reading()
    ask(QUESTION, library, model=endpoint, settings=settings)  # type: ignore[arg-type]
    word = Delimiters.of(library.secret).word
    assert len({request.messages[0] for request in endpoint.requests}) == 1
    for request in endpoint.requests:
        text = said(request)
        assert text.endswith(f"Question: {QUESTION}")
        assert text.startswith(f"<{word} passages>") == (request.schema_name != "PlanForm")


def test_passages_stand_in_the_order_in_which_they_came(library: KnowledgeBase) -> None:
    endpoint = reading()
    ask(QUESTION, library, model=endpoint)
    first, *later = (
        said(request).split("passages>\n")[1].split("\n</")[0]
        for request in endpoint.requests
        if request.schema_name != "PlanForm"
    )
    assert all(text.startswith(first) for text in later)
    assert len(later[-1]) > len(first)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_no_docstring_is_in_the_schema_of_a_request(library: KnowledgeBase, strategy: str) -> None:
    endpoint = Everything()
    ask(QUESTION, library, strategy=strategy, model=reading(endpoint, by_schema=endpoint.more()))
    assert endpoint.schemas
    for schema in endpoint.schemas:
        assert '"description"' not in schema
        assert '"title"' not in schema


class Everything(Reader):
    """A reader with a reply to every form, who was talked into saying a word again and again."""

    word = ""
    enough = "never"

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.prompts: list[str] = []

    def plan(self, request: ChatRequest) -> object:
        self.note(request)
        need = {"text": f"what {self.word} means", "subject": ""}
        return {"needs": [need], "asks": "place"}

    def assess(self, request: ChatRequest) -> object:
        self.note(request)
        return {"known": self.word, "missing": [f"the {self.word} born"]}

    def queries(self, request: ChatRequest) -> object:
        self.note(request)
        return {"queries": [f"Ilsa Corrin born {self.word}"]}

    def answer(self, request: ChatRequest) -> object:
        self.note(request)
        return {"claims": [{"text": f"x {self.word}", "evidence": [1]}], "answer": self.word or "x"}

    def more(self) -> dict[str, object]:
        def other(request: ChatRequest) -> str:
            self.note(request)
            said = f"who {self.word} Ilsa Corrin was"
            return json.dumps({"thought": said, "query": said, "follow_up": said, "answer": said})

        return {name: other for name in ("ThoughtForm", "SearchForm", "FollowUpForm", "BriefForm")}

    def note(self, request: ChatRequest) -> None:
        self.schemas.append(json.dumps(request.schema))
        self.prompts.append(said(request))


@pytest.mark.parametrize("strategy", sorted({*STRATEGIES} - {"lattice"}))
def test_the_fences_word_that_a_model_says_is_in_no_later_prompt(
    library: KnowledgeBase, strategy: str
) -> None:
    endpoint = Everything()
    endpoint.word = word = Delimiters.of(library.secret).word
    ask(QUESTION, library, strategy=strategy, model=reading(endpoint, by_schema=endpoint.more()))
    for prompt in endpoint.prompts:
        lines = [line for line in prompt.splitlines() if word in line]
        assert all(line.startswith((f"<{word} ", f"</{word}>")) for line in lines)
        assert PLACEHOLDER not in prompt
        assert word[:8] + "-" not in prompt
