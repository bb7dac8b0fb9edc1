"""The assessor: whether the evidence is enough to answer, or what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import (
    Reply,
    Short,
    content_words,
    needs_text,
    subjects_of,
)
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import Shown, wrapped
from hoptrail.agents.types import Assessment
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import surface_words


class LocalAssessor:
    """Sufficiency by words: the evidence has every name and content word of the question.

    Words cannot show that the passage which names the bridge entity is not yet the answer, so the
    names that the first round brought are followed once before any evidence counts as enough.
    """

    async def assess(self, situation: RoleInput) -> RoleResult[Assessment]:
        """Names, content words and kinds of answer that the question has and the pool lacks."""
        said = {
            word for item in situation.pool for word in surface_words(f"{item.title} {item.quote}")
        }
        missing = [
            f"what the documents say of {name}"
            for name in subjects_of(situation)
            if not set(surface_words(name)) <= said
        ]
        stems = {word[:6] for word in said}
        lacking = sorted(content_words(situation.question) - stems)
        if lacking:
            missing.append("passages that speak of " + ", ".join(lacking))
        wants_digits = situation.plan.asks in ("date", "number")
        if wants_digits and not any(re.search(r"\d", item.quote) for item in situation.pool):
            missing.append(f"a {situation.plan.asks}")
        if len(situation.asked) <= 1 + len(subjects_of(situation)):
            missing.append("where the names in the evidence lead")
        sufficient = bool(situation.pool) and not missing
        return RoleResult(value=Assessment(sufficient=sufficient, missing=tuple(missing)))


class ServedAssessor:
    """Sufficiency judged by a model, by prompt `ask/assess`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def assess(self, situation: RoleInput) -> RoleResult[Assessment]:
        """Enough where nothing is missing; without anything read the model is not asked."""
        shown = Shown.of(situation)
        if not shown.items:
            return RoleResult(value=Assessment(sufficient=False, missing=("any evidence",)))
        call = RoleCall(
            role="assess",
            prompt="ask/assess",
            form=AssessForm,
            max_tokens=640,
            render=lambda blocks: load("ask/assess").render(
                passages=wrapped(self._delimiters, blocks),
                needs=needs_text(self._delimiters, situation),
                question=situation.question,
            ),
            blocks=shown.blocks(),
        )

        def use(form: AssessForm, _: Sequence[int]) -> Assessment:
            missing = tuple(text for one in form.missing if (text := one.strip()))
            return Assessment(sufficient=not missing, missing=missing)

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.assessor.assess(situation)
        )


class AssessForm(Reply):
    """The assessor's reply; what is found comes before what is missing, and that decides."""

    known: Annotated[str, Field(max_length=240)]
    missing: Annotated[list[Short], Field(max_length=3)]
