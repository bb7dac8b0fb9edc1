"""What a served model may reply in each role: flat, short and bounded.

A server's grammar makes a poor model write until a bound stops it, so every list and string has
one, and whatever can be said by number is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Short = Annotated[str, Field(max_length=80)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NeedForm(_Form):
    """One thing that must be known."""

    text: Short
    subject: Annotated[str, Field(max_length=60)]


class PlanForm(_Form):
    """The planner's reply."""

    needs: Annotated[list[NeedForm], Field(min_length=1, max_length=4)]
    asks: Literal["person", "place", "date", "number", "choice", "yes_no", "thing"]


class RefineForm(_Form):
    """The refiner's reply: numbers of sentences."""

    sentences: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=8)]


class AssessForm(_Form):
    """The assessor's reply."""

    sufficient: bool
    missing: Annotated[list[Short], Field(max_length=3)]


class QueriesForm(_Form):
    """The query writer's reply."""

    queries: Annotated[list[Short], Field(max_length=3)]


class ClaimForm(_Form):
    """One sentence of the answer."""

    text: Annotated[str, Field(max_length=160)]
    evidence: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=4)]


class AnswerForm(_Form):
    """The answerer's reply."""

    claims: Annotated[list[ClaimForm], Field(max_length=4)]
    answer: Annotated[str, Field(max_length=120)]
    answered: bool
