"""What a served model may reply where a tree is built: short, bounded, by number if possible."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST_LISTED = 400
"""Texts and descriptors that one question lists at most."""
_MOST_GROUPS = 64

_Number = Annotated[int, Field(ge=1, le=MOST_LISTED)]
_Numbers = Annotated[list[_Number], Field(max_length=MOST_LISTED)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SummaryForm(_Form):
    """Prompt `summary`. To say first what each text is makes the summary name it."""

    items: Annotated[list[Annotated[str, Field(max_length=120)]], Field(max_length=_MOST_GROUPS)]
    shared: Annotated[str, Field(max_length=240)]
    summary: Annotated[str, Field(max_length=700)]


class DescriptorsForm(_Form):
    """Prompt `descriptors`."""

    descriptors: Annotated[
        list[Annotated[str, Field(max_length=240)]], Field(min_length=5, max_length=5)
    ]


class GroupForm(_Form):
    """One group that the model makes."""

    name: Annotated[str, Field(max_length=80)]
    description: Annotated[str, Field(max_length=300)]
    numbers: _Numbers


class TopicsForm(_Form):
    """Prompt `topics`."""

    groups: Annotated[list[GroupForm], Field(max_length=_MOST_GROUPS)]


class SortedForm(_Form):
    """What belongs to one group that was there."""

    group: Annotated[int, Field(ge=1, le=_MOST_GROUPS)]
    numbers: _Numbers


class SortingForm(_Form):
    """Prompt `sorting`."""

    groups: Annotated[list[SortedForm], Field(max_length=_MOST_GROUPS)]
