"""The assessor: whether the evidence is enough to answer, what it states, or what is missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import (
    Reply,
    Short,
    best_values,
    content_words,
    needs_text,
    subjects_of,
)
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.answerer import says_no_answer
from hoptrail.agents.roles.reading.grounding import Shown, wrapped
from hoptrail.agents.roles.searching.binding_rules import found_by_rules
from hoptrail.agents.roles.searching.bindings import facts
from hoptrail.agents.roles.searching.question_triples import named
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
        found = found_by_rules(
            situation.plan.triples,
            situation.bindings,
            situation.pool,
            question=situation.question,
            asks=situation.plan.asks,
        )
        sufficient = bool(situation.pool) and not missing
        judged = Assessment(sufficient=sufficient, missing=tuple(missing), found=found)
        return RoleResult(value=judged)


class ServedAssessor:
    """Sufficiency judged by a model, by prompt `ask/assess`, or by the values that it finds.

    Where the plan has triples the model is asked for the values of their variables, by prompt
    `ask/find_values`, and not for a verdict: that follows from what has no value.
    """

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def assess(self, situation: RoleInput) -> RoleResult[Assessment]:
        """Enough where nothing is missing; without anything read the model is not asked."""
        shown = Shown.of(situation)
        if not shown.items:
            return RoleResult(value=Assessment(sufficient=False, missing=("any evidence",)))
        if situation.plan.triples:
            return await self._find_values(situation, shown)
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

    async def _find_values(self, situation: RoleInput, shown: Shown) -> RoleResult[Assessment]:
        call: RoleCall[Any] = RoleCall(
            role="assess",
            prompt="ask/find_values",
            form=values_form(named(situation.plan.triples)),
            max_tokens=640,
            render=lambda blocks: load("ask/find_values").render(
                passages=wrapped(self._delimiters, blocks),
                needs=self._delimiters.wrap("needs", _asked_by_variable(situation)),
                question=situation.question,
            ),
            blocks=shown.blocks(),
        )

        def use(form: ValuesForm, _: Sequence[int]) -> Assessment:
            found = dict.fromkeys(
                (one.variable, value)
                for one in form.known
                if (value := " ".join(one.value.split())) and not says_no_answer(value)
            )
            return Assessment(sufficient=True, found=tuple(found))

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.assessor.assess(situation)
        )


def _asked_by_variable(situation: RoleInput) -> str:
    """A line a triple: its variable, and what it asks, with the best values so far."""
    triples = situation.plan.triples
    asked = facts(triples, best_values(situation), keep=True)
    return "\n".join(
        f"{triple.object}: {fact}" for triple, fact in zip(triples, asked, strict=True)
    )


class AssessForm(Reply):
    """The assessor's reply; what is found comes before what is missing, and that decides."""

    known: Annotated[str, Field(max_length=240)]
    missing: Annotated[list[Short], Field(max_length=3)]


class ValueForm(Reply):
    """A value of a variable."""

    variable: str
    value: Short


class ValuesForm(Reply):
    """The assessor's reply where the question has variables; none for what is not stated."""

    known: Annotated[list[ValueForm], Field(max_length=8)]


@cache
def values_form(names: tuple[str, ...]) -> type[ValuesForm]:
    """The reply's form where these variables are all that there are."""
    variable: Any = Literal.__getitem__(names)
    value: Any = create_model("ValueForm", __base__=ValueForm, variable=(variable, ...))
    known: Any = Annotated[list[value], Field(max_length=2 * len(names))]
    form: type[ValuesForm] = create_model("ValuesForm", __base__=ValuesForm, known=(known, ...))
    return form
