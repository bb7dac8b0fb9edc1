"""What is asked, and under which settings: all that a run and its replay start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import get_args

from pydantic import TypeAdapter

from hoptrail.agents.budget.limits import Budget
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.tree.search.types import TreeSearchSettings
from hoptrail.rag.types import Mode, Scalar

SERVED_ITERATIONS = 8
"""Of a tree search that a model scores, unless told: at most 15 slates of two to four thousand
tokens, and the search grows little better after the eighth (LATTICE, arXiv 2510.13217)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How far and how wide a run searches."""

    k: int = 20
    """Passages a query brings."""
    read: int = 5
    """New passages a round hands to the refiner."""
    max_rounds: int = 4
    max_queries: int = 12
    """Queries a round may make; the search budget divides among them."""
    mode: Mode | None = None
    """How the question itself is searched. None: the best that the store has an index for; a run
    and its recording have that in its place."""
    navigate: TreeSearchSettings | None = None
    """How the corpus tree is searched, where a strategy does. None: by its defaults, with a served
    model no longer than the default budget lasts; a run and its recording have the decision."""

    def __post_init__(self) -> None:
        """Refuses values that could not search at all."""
        for name in ("k", "read", "max_rounds", "max_queries"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise SettingsError(f"{name}={value!r}: it must be a whole number of at least 1")
        if self.mode is not None and self.mode not in get_args(Mode):
            known = ", ".join(get_args(Mode))
            raise SettingsError(f"Unknown mode {self.mode!r}: use one of {known}.")

    def resolved(self, mode: Mode, *, served: bool) -> RunSettings:
        """With all that is None decided: `mode` is the store's best, `served`: by a model."""
        usual = (
            TreeSearchSettings(iterations=SERVED_ITERATIONS, stretched=True)
            if served
            else TreeSearchSettings()
        )
        return replace(self, mode=self.mode or mode, navigate=self.navigate or usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What is asked, and under which settings: all that a run and its replay start from."""

    question: str
    strategy: str = "pool"
    where: Mapping[str, Scalar] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    settings: RunSettings = field(default_factory=RunSettings)
    model: str = ""
    """The served model's address; empty: none, or one given as an open endpoint."""
    model_name: str | None = None
    """None: the first model that the server lists."""
    served: bool = False
    """Whether a model plays the roles."""
    recorded: bool = False
    """Whether it was recorded when it began; what a resume adds never is."""

    def __post_init__(self) -> None:
        """Refuses a question or a filter that nothing could be searched for."""
        if not self.question.strip():
            raise SettingsError("the question is empty: ask something")
        if any("\ud800" <= character <= "\udfff" for character in self.question):
            raise SettingsError("the question is no valid Unicode text: give it in UTF-8")
        filter_tokens(self.where)
        if len(self.question) > LONGEST_QUESTION:
            raise SettingsError(
                f"the question has {len(self.question):,} characters, at most "
                f"{LONGEST_QUESTION:,} are read: ask briefly, and ingest long texts as documents"
            )


LONGEST_QUESTION = 20_000
"""Characters; a longer text is a document, not a question."""

JOB = TypeAdapter(RunRequest)


def job_json(job: RunRequest) -> dict[str, object]:
    """A job as JSON, for a recording's header."""
    record: dict[str, object] = json.loads(JOB.dump_json(job))
    return record


def job_of(record: Mapping[str, object]) -> RunRequest:
    """The job that `job_json` wrote."""
    return JOB.validate_python(record)
