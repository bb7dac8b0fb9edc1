"""The reasoner: passages and earlier steps → the next thought, follow-up question or query."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import (
    QueryWriter,
    ReasoningStep,
    ReasoningStyle,
    RoleInput,
    RoleResult,
    Roles,
)
from hoptrail.agents.roles.common import Reply, notes_text
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import Shown, wrapped
from hoptrail.prompts.loader import load

_CONCLUDES = re.compile(r"\banswer is\b", re.IGNORECASE)
"""IRCoT's mark of the last sentence of a chain of thought."""


class LocalReasoner:
    """Reasoning by names: the query writer's best query is the next step.

    Args:
        queries: the local query writer.
    """

    def __init__(self, queries: QueryWriter) -> None:
        self._queries = queries

    async def next_step(
        self,
        situation: RoleInput,
        style: ReasoningStyle,
    ) -> RoleResult[ReasoningStep]:
        """The best query that was not made; none ends the loop."""
        found = (await self._queries.next_queries(situation)).value
        text = found[0].text if found else ""
        return RoleResult(value=ReasoningStep(thought=text, query=text))


class ServedReasoner:
    """Reasoning by a model, by the prompt of the loop's style."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def next_step(
        self, situation: RoleInput, style: ReasoningStyle
    ) -> RoleResult[ReasoningStep]:
        """The step that the model writes next."""
        kind = _STYLES[style]
        call: RoleCall[Any] = RoleCall(
            role=style,
            prompt=kind.prompt,
            form=kind.form,
            max_tokens=400,
            render=lambda blocks: load(kind.prompt).render(
                passages=wrapped(self._delimiters, blocks),
                notes=notes_text(self._delimiters, situation.notes),
                question=situation.question,
            ),
            blocks=Shown.of(situation).blocks(),
        )

        def use(form: Any, _: Sequence[int]) -> ReasoningStep:  # noqa: ANN401 - the style's form
            return kind.step(form)

        return await ask_or_fall_back(
            self._client,
            call,
            use,
            lambda: self._fallback.reasoner.next_step(situation, style),
        )


class ThoughtForm(Reply):
    """One sentence of a chain of thought."""

    thought: Annotated[str, Field(max_length=200)]


class FollowUpForm(Reply):
    """A follow-up question; empty where none is needed."""

    follow_up: Annotated[str, Field(max_length=120)]


class SearchForm(Reply):
    """A thought, and a query; empty where nothing is missing."""

    thought: Annotated[str, Field(max_length=200)]
    query: Annotated[str, Field(max_length=100)]


def _thought(form: ThoughtForm) -> ReasoningStep:
    text = form.thought.strip()
    return ReasoningStep(thought=text, query="" if _CONCLUDES.search(text) else text)


def _follow_up(form: FollowUpForm) -> ReasoningStep:
    text = form.follow_up.strip()
    return ReasoningStep(thought=text, query=text)


def _search(form: SearchForm) -> ReasoningStep:
    return ReasoningStep(thought=form.thought.strip(), query=form.query.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """Prompt and reply of a style, and the step that the reply stands for."""

    prompt: str
    form: type[BaseModel]
    step: Callable[[Any], ReasoningStep]


_STYLES: dict[ReasoningStyle, _Style] = {
    "thought": _Style(prompt="reason/next_thought", form=ThoughtForm, step=_thought),
    "follow_up": _Style(prompt="reason/follow_up", form=FollowUpForm, step=_follow_up),
    "monologue": _Style(prompt="reason/next_search", form=SearchForm, step=_search),
}
