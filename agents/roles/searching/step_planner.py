"""The step planner: question and sources → searches that may depend on each other's answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import RoleResult, Roles
from hoptrail.agents.roles.common import Reply, notes_text
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.searching.decomposition import decompose
from hoptrail.agents.roles.searching.step_graph import MOST_STEPS, in_order, linked, problem_of
from hoptrail.agents.types import Source, SourceName, Step, Turn
from hoptrail.prompts.loader import load
from hoptrail.rag.types import Mode

SOURCES: dict[SourceName, str] = {
    "hybrid": "search by words and meaning; for facts that are described, not named",
    "lexical": "search by exact words; for a single name or title, with nothing else in the query",
    "graph": "search that also follows names from passage to passage; the usual choice",
    "tree": "slow search through an index of topics; for broad questions without a name",
    "none": "no search; compares, counts or combines the answers of earlier steps",
}
"""What the documents can be searched with, and the purpose of each."""


def sources_of(mode: Mode | None, *, tree: bool) -> tuple[Source, ...]:
    """The sources that a run has.

    Args:
        mode: its search mode: `graph` where the store has a passage graph.
        tree: whether the store has a corpus tree.
    """
    lacking = {"graph"} if mode != "graph" else set()
    lacking |= set() if tree else {"tree"}
    return tuple(Source(name=n, purpose=p) for n, p in SOURCES.items() if n not in lacking)


def whole_question(question: str, sources: Sequence[Source]) -> tuple[Step, ...]:
    """The plan of one step, which searches for the question as it stands."""
    return linked([(question, best_source(sources), "")])


def best_source(sources: Sequence[Source]) -> SourceName:
    """The best of some sources for a search by words and meaning."""
    return "graph" if any(one.name == "graph" for one in sources) else "hybrid"


class LocalStepPlanner:
    """Decomposition by rules: comparisons, chains of relations, shared constraints."""

    async def plan_steps(
        self, question: str, sources: Sequence[Source], notes: Sequence[Turn]
    ) -> RoleResult[tuple[Step, ...]]:
        """The steps by rules; after a plan that failed, the question as it stands."""
        if notes:
            return RoleResult(value=whole_question(question, sources))
        return RoleResult(value=decompose(question, best_source(sources)))


class ServedStepPlanner:
    """Decomposition by a model, by prompt `ask/plan_steps`.

    A reply whose steps fail their checks is asked for once more.
    """

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def plan_steps(
        self, question: str, sources: Sequence[Source], notes: Sequence[Turn]
    ) -> RoleResult[tuple[Step, ...]]:
        """The model's steps; they pass `problem_of`."""
        call: RoleCall[Any] = RoleCall(
            role="plan_steps",
            prompt="ask/plan_steps",
            form=_form(tuple(one.name for one in sources)),
            max_tokens=640,
            render=lambda _: load("ask/plan_steps").render(
                sources="\n".join(f'- "{one.name}": {one.purpose}' for one in sources),
                notes=notes_text(self._delimiters, notes),
                question=question,
            ),
        )

        def use(form: StepsForm, _: Sequence[int]) -> tuple[Step, ...]:
            return in_order(form.linked())

        return await ask_or_fall_back(
            self._client,
            call,
            use,
            lambda: self._fallback.step_planner.plan_steps(question, sources, notes),
        )


class StepForm(Reply):
    """One step; its number in the list is its id."""

    question: Annotated[str, Field(max_length=120)]
    source: SourceName
    query: Annotated[str, Field(max_length=100)]


class StepsForm(Reply):
    """The step planner's reply."""

    reasoning: Annotated[str, Field(max_length=240)]
    steps: Annotated[list[StepForm], Field(min_length=1, max_length=MOST_STEPS)]

    def linked(self) -> tuple[Step, ...]:
        """The steps with their ids and dependencies."""
        return linked([(one.question.strip(), one.source, one.query.strip()) for one in self.steps])

    @model_validator(mode="after")
    def _checked(self) -> Self:
        """Refuses steps that cannot be run; which sources there are, their own field says."""
        if problem := problem_of(self.linked(), SOURCES):
            raise ValueError(problem)
        return self


@cache
def _form(names: tuple[SourceName, ...]) -> type[StepsForm]:
    """The reply's form where these sources are all that there are."""
    source: Any = Literal.__getitem__(names)
    step: Any = create_model("StepForm", __base__=StepForm, source=(source, ...))
    steps: Any = Annotated[list[step], Field(min_length=1, max_length=MOST_STEPS)]
    form: type[StepsForm] = create_model("StepsForm", __base__=StepsForm, steps=(steps, ...))
    return form
