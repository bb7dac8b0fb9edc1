"""The request of a run: question, strategy, filter, budget and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from pydantic import TypeAdapter

from hoptrail.agents.budget.limits import Budget
from hoptrail.agents.types import ClaimsBy, Context, Turn
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.tree.search.types import TreeSearchSettings
from hoptrail.rag.types import Mode, Scalar

SERVED_ITERATIONS = 8
"""Iterations of a tree search that a model scores, by default: at most 15 slates of two to four
thousand tokens; the search improves little after the eighth (LATTICE, arXiv 2510.13217)."""


Verification = Literal["code", "model", "natural_logic"]

RankBy = Literal["search", "windows", "utility"]
"""What orders the passages to be read: their scores, or a model (`roles.reading.ranker`)."""

QueryWriting = Literal["gap", "keywords", "keywords_fused", "thought", "intent"]
"""What a model writes to be searched for next; `roles.searching.query_expansion` has them."""

LONGEST_WINDOW = 20
"""Most passages that a model ranks in one call, as in RankGPT (arXiv 2304.09542)."""


_COUNTS = (
    *("k", "read", "max_rounds", "iterations", "max_queries", "per_document"),
    *("ranked", "rank_window", "rank_stride", "rank_samples"),
)
_CHOICES = (
    ("mode", Mode),
    ("context", Context),
    ("claims_by", ClaimsBy),
    ("rank_by", RankBy),
    ("query_writer", QueryWriting),
    ("verification", Verification),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """The settings of a run: how far and how wide it searches."""

    k: int = 20
    """Passages that a query returns; at least 1."""
    read: int = 5
    """New passages that the refiner reads in a round; at least 1."""
    max_rounds: int = 4
    iterations: int = 2
    """Rounds of search and answer of `iter-retgen`; at least 1."""
    max_queries: int = 12
    """Most queries of a round; the search budget is divided among them; at least 1."""
    mode: Mode | None = None
    """The search mode of the question itself. None: the best that the store has an index for; in a
    run and its recording it is resolved."""
    navigate: TreeSearchSettings | None = None
    """Settings of the tree search, where a strategy has one. None: the defaults, with a served
    model limited to what the default budget allows; in a run and its recording it is resolved."""

    context: Context = "passages"
    """What the model's roles read. With `passages` the sentences to quote are chosen by code, which
    saves a call a round; with the others the refiner chooses them."""
    claims_by: ClaimsBy = "code"
    """Who finds the claims of an answer: the code, in sentences that contain the short answer, or
    the model, which then writes them before it. The smallest models do better with the code."""
    per_document: int | None = None
    """Most passages of one document that are read in a round, at least 1; None: any number."""
    rank_by: RankBy = "search"
    """What orders the passages before the first `read` of them are read. `windows`: a model ranks
    the best `ranked` in windows of `rank_window`, from the last to the first, each `rank_stride`
    further up. `utility`: a model is shown the best `rank_window`, in `rank_samples` orders, and
    says which help to answer; those with more votes come first. Both are options that were not
    measured with a capable model. Without a model the order is the search's."""
    ranked: int = 20
    rank_window: int = 10
    """At most 20."""
    rank_stride: int = 5
    """At most `rank_window`."""
    rank_samples: int = 5
    query_writer: QueryWriting = "gap"
    """What the served query writer writes: queries for the gap; or keywords, a passage that would
    answer, or a description of the intent, which are searched with what is missing. The others
    than `gap` are options that were not measured with a capable model."""
    call_seconds: float | None = None
    """Seconds that one model call may take. None: by its length and the pace of the server."""
    label_probabilities: bool = False
    """Whether verdicts and utility judgments go by the probabilities that the model gave to its
    words, where the server has them (`logprobs`); else by the words. Not measured."""
    verification: Verification = "code"
    """Who checks the claims of an answer: the rules alone, or the served model as well; a claim
    then holds where both agree. With `natural_logic` the model labels each part of a claim, and
    the code draws the verdict; not measured."""

    def __post_init__(self) -> None:
        """Refuses values with which no search is possible."""
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name, most in (("rank_window", LONGEST_WINDOW), ("rank_stride", self.rank_window)):
            if getattr(self, name) > most:
                raise SettingsError(
                    f"The setting {name}={getattr(self, name)!r} must be at most {most}."
                )
        if self.call_seconds is not None and not self.call_seconds > 0:
            raise SettingsError(
                f"The setting call_seconds={self.call_seconds!r} must be a number above 0."
            )
        if not isinstance(self.label_probabilities, bool):
            raise SettingsError(
                f"The setting label_probabilities={self.label_probabilities!r} must be true or "
                "false."
            )
        for name, kind in _CHOICES:
            value = getattr(self, name)
            if value not in get_args(kind) and (name, value) != ("mode", None):
                known = ", ".join(get_args(kind))
                raise SettingsError(f"Unknown {name} {value!r}: use one of {known}.")

    @property
    def most_rounds(self) -> int:
        """The most rounds of a run, whatever its strategy counts them by."""
        return max(self.max_rounds, self.iterations)

    def resolved(self, mode: Mode, *, served: bool) -> RunSettings:
        """The settings with every None resolved.

        Args:
            mode: the best search mode that the store has an index for.
            served: whether a model plays the roles.
        """
        usual = (
            TreeSearchSettings(iterations=SERVED_ITERATIONS, stretched=True)
            if served
            else TreeSearchSettings()
        )
        chosen = mode if self.mode is None else self.mode
        return replace(self, mode=chosen, navigate=self.navigate or usual)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What a run remembers of the model of one role: everything but the key."""

    url: str = ""
    """Empty: the run's default, or an open endpoint."""
    name: str | None = None
    server: str | None = None
    """The run's name for the server; None: the role is played locally."""
    own: bool = False
    """Whether the role has a model of its own."""
    thinking: bool | None = None
    thought_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """The request of a run: question, strategy, filter, budget and settings.

    A run and its replay start from it alone.
    """

    question: str
    history: tuple[Turn, ...] = ()
    """The conversation before it, oldest turn first; the question may lean on it."""
    strategy: str = "pool"
    where: Mapping[str, Scalar] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    settings: RunSettings = field(default_factory=RunSettings)
    model: str = ""
    """The served model's address; empty: none, or one given as an open endpoint."""
    model_name: str | None = None
    """None: the first model that the server lists."""
    served: bool = False
    """Whether a model plays all roles, other than those in `models`."""
    models: Mapping[str, ModelRecord] = field(default_factory=dict)
    """Roles with a model, or limits, of their own."""
    recorded: bool = False
    """Whether the run was recorded when it began; a resume is never recorded."""

    def serves(self, role: str) -> bool:
        """Whether a model plays a role."""
        return self.models[role].server is not None if role in self.models else self.served

    def serves_any(self) -> bool:
        """Whether a model plays any role."""
        return self.served or any(one.server is not None for one in self.models.values())

    def __post_init__(self) -> None:
        """Refuses a question or a filter with which no search is possible."""
        if not self.question.strip():
            raise SettingsError("The question is empty.")
        if any("\ud800" <= character <= "\udfff" for character in self.question):
            raise SettingsError("The question is no valid Unicode text: give it in UTF-8.")
        filter_tokens(self.where)
        if any(len(text) > LONGEST_QUESTION for turn in self.history for text in _texts(turn)):
            raise SettingsError(
                f"A turn of the history has more than {LONGEST_QUESTION:,} characters: cut it."
            )
        if len(self.question) > LONGEST_QUESTION:
            raise SettingsError(
                f"The question has {len(self.question):,} characters, at most "
                f"{LONGEST_QUESTION:,} are read: ask briefly, and ingest long texts as documents."
            )


def _check_count(name: str, value: object) -> None:
    """Refuses what is no whole number of at least 1; `per_document` may be None."""
    if (name, value) != ("per_document", None) and (not isinstance(value, int) or value < 1):
        raise SettingsError(f"The setting {name}={value!r} must be a whole number of at least 1.")


LONGEST_QUESTION = 20_000
"""Most characters of a question; a longer text is a document."""


def _texts(turn: Turn) -> tuple[str, str]:
    return turn.question, turn.answer


JOB = TypeAdapter(RunRequest)


def job_json(job: RunRequest) -> dict[str, object]:
    """A request as JSON, for a recording's header."""
    record: dict[str, object] = json.loads(JOB.dump_json(job))
    return record


def job_of(record: Mapping[str, object]) -> RunRequest:
    """The request that `job_json` wrote."""
    return JOB.validate_python(record)
