"""The reader: a question and a few passages → a short answer, and the sentences that contain it."""

from __future__ import annotations

from collections.abc import Sequence

from hoptrail.agents.budget.limits import Share
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import PLACEHOLDER, Delimiters
from hoptrail.agents.roles.base import Quote, RoleResult, Roles, ShortAnswer
from hoptrail.agents.roles.claim_rules.coverage import content_terms
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.answerer import BriefForm, says_no_answer
from hoptrail.agents.roles.reading.grounding import grounds, numbered, quote_of, text_of, wrapped
from hoptrail.prompts.loader import load
from hoptrail.rag.types import Passage


class LocalReader:
    """Reading by words: the sentences that have most of the question's words."""

    async def read(
        self, question: str, passages: Sequence[Passage], *, share: Share | None = None
    ) -> RoleResult[ShortAnswer]:
        """The best sentences of the passage that has most words of the question."""
        asked = content_terms(question)
        best: tuple[int, Quote, Passage] | None = None
        for passage in passages:
            quote = quote_of(question, passage)
            if quote is None:
                continue
            said = content_terms(f"{passage.title} {text_of(quote, passage)}")
            if best is None or len(asked & said) > best[0]:
                best = (len(asked & said), quote, passage)
        if best is None:
            return RoleResult(value=ShortAnswer(text=""))
        _, quote, passage = best
        return RoleResult(value=ShortAnswer(text=text_of(quote, passage), quotes=(quote,)))


class ServedReader:
    """Reading by a model, by prompt `ask/answer_briefly`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def read(
        self, question: str, passages: Sequence[Passage], *, share: Share | None = None
    ) -> RoleResult[ShortAnswer]:
        """The model's short answer, and where the passages have its words."""
        if not passages:
            return RoleResult(value=ShortAnswer(text=""))
        call = RoleCall(
            role="read",
            prompt="ask/answer_briefly",
            form=BriefForm,
            max_tokens=160,
            render=lambda blocks: load("ask/answer_briefly").render(
                passages=wrapped(self._delimiters, blocks),
                question=question.replace(PLACEHOLDER, ""),  # a model may have written it
            ),
            blocks=numbered(passages),
            share=share,
        )

        def use(form: BriefForm, seen: Sequence[int]) -> ShortAnswer:
            text = form.answer.strip()
            if says_no_answer(text):
                return ShortAnswer(text="")
            shown = [passages[place] for place in seen]
            return ShortAnswer(text=text, quotes=grounds(text, question, shown))

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.reader.read(question, passages)
        )
