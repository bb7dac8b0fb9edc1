"""The planner: question → facts that must be known, as triples too, and the kind of answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.roles.base import RoleResult, Roles
from hoptrail.agents.roles.common import Reply, Short, filled, variables
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.searching.question_triples import (
    subject_of,
    triples_of,
    triples_of_needs,
)
from hoptrail.agents.types import Need, Plan
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import casefolded, proper_names

_ASKS = (
    ("date", r"\b(when|what (year|date|day|month)|which (year|date)|how old|date of)\b"),
    ("number", r"\bhow (many|much|far|long|tall|deep|heavy|often)\b|\bnumber of\b|\bpopulation\b"),
    ("choice", r"^which\b.*\bor\b|\b(older|younger|earlier|later|larger|first|elder)\b.*\bor\b"),
    ("yes_no", r"^(is|are|was|were|do|does|did|has|have|had|can|could)\b"),
    ("person", r"\b(who|whom|whose)\b"),
    ("place", r"\bwhere\b|\b(which|what) (country|city|town|village|state|county|place|cape)\b"),
)


def asks_for(question: str) -> str:
    """The answer type of a question, by its words: `person`, `date`, ... or `thing`."""
    folded = casefolded(question)
    return next((kind for kind, pattern in _ASKS if re.search(pattern, folded)), "thing")


class LocalPlanner:
    """Planning by rules: a need for each name in the question, and one for the answer itself."""

    async def plan(self, question: str) -> RoleResult[Plan]:
        """One need for every name, and one for the answer type."""
        asks = asks_for(question)
        subjects = proper_names(question)
        needs = [
            Need(id=f"n{i}", text=f"what the documents say of {name}", subject=name)
            for i, name in enumerate(subjects, start=1)
        ]
        needs.append(Need(id=f"n{len(needs) + 1}", text=f"the {asks} asked for", subject=""))
        made = Plan(needs=tuple(needs), asks=asks, triples=triples_of(question))
        return RoleResult(value=made)


class ServedPlanner:
    """Planning by a model, by prompt `ask/plan`."""

    def __init__(self, client: LLMClient, fallback: Roles) -> None:
        self._client = client
        self._fallback = fallback

    async def plan(self, question: str) -> RoleResult[Plan]:
        """The needs of a question, and its triples if each need says what it is about.

        A subject that the question does not name is dropped.
        """
        call = RoleCall(
            role="plan",
            prompt="ask/plan",
            form=PlanForm,
            max_tokens=640,
            render=lambda _: load("ask/plan").render(question=question),
        )

        def use(form: PlanForm, _: Sequence[int]) -> Plan:
            said = [(one.text.strip(), subject_of(one.subject, question)) for one in form.needs]
            triples = triples_of_needs(said, form.asks)
            needs = tuple(
                Need(
                    id=f"n{i}",
                    # Without triples nothing gives the variables a value.
                    text=text if triples else filled(text, {}),
                    subject="" if variables(subject) else subject,
                )
                for i, (text, subject) in enumerate(said, start=1)
            )
            return Plan(needs=needs, asks=form.asks, triples=triples)

        return await ask_or_fall_back(
            self._client, call, use, lambda: self._fallback.planner.plan(question)
        )


class NeedForm(Reply):
    """One thing that must be known."""

    text: Short
    subject: Annotated[str, Field(max_length=60)]


class PlanForm(Reply):
    """The planner's reply."""

    needs: Annotated[list[NeedForm], Field(min_length=1, max_length=4)]
    asks: Literal["person", "place", "date", "number", "choice", "yes_no", "thing"]
