"""The receipt of a run: the answer, its quotes with offsets, the steps, the cost, the stop reason.

`Receipt.canonical` is the form in which two runs are compared: everything but `environment`
(versions, machine, wall times), as sorted JSON. `agents/receipt.schema.json` is generated from
the records here, and a test keeps the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

from pydantic import TypeAdapter

from hoptrail.agents.budget.ledger import Budget, Usage
from hoptrail.agents.types import (
    AbstainReason,
    Answer,
    Binding,
    Candidate,
    Claim,
    Computation,
    Contradiction,
    Evidence,
    Outcome,
    Plan,
    ReadPassage,
    StepRecord,
    StopReason,
)

FINISHED: frozenset[StopReason] = frozenset({"sufficient", "unjudged", "no_progress", "max_rounds"})
"""Stop reasons of a search that was not cut short."""


_PACKAGES = ("hoptrail", "langgraph", "tantivy", "numpy", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment of a run (versions, machine, times), left out of comparisons."""

    run: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    started: str = ""
    """UTC, ISO 8601."""
    wall_seconds: float = 0.0
    model_url: str = ""
    problems: tuple[str, ...] = ()
    """What went wrong after the answer was there, such as a recording that could not be ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The receipt of one question: its answer and all that is needed to check it."""

    schema_version: Literal["1", "2"] = "2"
    """1: before the outcome `quotes`, the stop reason `unjudged` and ids of evidence by content."""
    question: str
    standalone: str = ""
    """The question as it was worked on; empty where it stood alone as it was asked."""
    strategy: str
    model: str
    """The served model's name; empty where the roles were local."""
    answer: str
    extractive: bool
    """True: the answer is the documents' own words, no model reasoned over them."""
    outcome: Outcome
    stop: StopReason
    claims: tuple[Claim, ...]
    """The claims that hold, in order."""
    dropped: tuple[Claim, ...]
    """The claims that do not hold, each with the reason."""
    evidence: tuple[Evidence, ...]
    """The evidence pool, best first, every quote checked against the stored document."""
    source_changed: tuple[str, ...]
    """Ids of evidence whose document changed during the run; they are not in `evidence`."""
    unchecked: tuple[str, ...] = ()
    """Ids of evidence that could not be checked against its document in time; they are not in
    `evidence` either."""
    candidates: tuple[Candidate, ...]
    """Every passage found, best first, by id."""
    read: tuple[ReadPassage, ...] = ()
    """Every passage read, in order, with the reason why it was: its ranks and what had found it."""
    plan: Plan | None
    steps: tuple[StepRecord, ...]
    rounds: int
    fallbacks: int
    """Role calls that the local player answered because the model's reply could not be used."""
    flags: tuple[str, ...]
    """Oddities of the spending, such as usage reported outside its reservation."""
    budget: Budget
    usage: Usage
    generation: int
    """The store's generation that the run began at."""
    computation: Computation | None = None
    """How a number of the answer follows from the claims, where none of them states it."""
    bindings: tuple[Binding, ...] = ()
    """The values found for the variables of the plan's triples, each with its quotes."""
    contradictions: tuple[Contradiction, ...] = ()
    """The variables for which the documents state different values."""
    environment: Environment = field(default_factory=Environment)

    def json(self) -> str:
        """The whole receipt as indented JSON."""
        return _adapter().dump_json(self, indent=2).decode()

    def record(self) -> dict[str, Any]:
        """The receipt as a JSON object."""
        record: dict[str, Any] = _adapter().dump_python(self, mode="json")
        return record

    def canonical(self) -> str:
        """The receipt without `environment`, keys sorted: equal for equal runs."""
        record = self.record()
        del record["environment"]
        return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | bytes) -> Receipt:
        """A receipt from its JSON.

        Raises:
            pydantic.ValidationError: the text is no receipt of this schema version.
        """
        return _adapter().validate_json(text)


def schema() -> dict[str, Any]:
    """The JSON Schema of a receipt."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[Receipt]:
    return TypeAdapter(Receipt)


@cache
def package_versions() -> dict[str, str]:
    """The installed versions of what decides an answer; read once, since it takes milliseconds."""
    return {name: version(name) for name in _PACKAGES}


def outcome_of(
    answer: Answer | None, stop: StopReason, evidence: int, source_changed: int
) -> Outcome:
    """The outcome of a run.

    Answered: every claim holds and the text says no more than they do. Quotes: the documents' own
    words, that no model read; or that stand, with the reason, in the place of an answer of which
    nothing held. Partial: a claim holds, but others
    were dropped or the search was cut short. Unverified: an answer without a
    claim. Abstained: no claim holds; the reason is the nearest
    cause.

    Args:
        answer: the verified answer; None where no answer was tried.
        stop: why the run stopped.
        evidence: number of quotes in the pool that still match their document.
        source_changed: number of quotes whose document changed during the run.
    """
    held = [claim for claim in answer.claims if claim.verdict == "holds"] if answer else []
    if answer is not None and answer.unverified and answer.text and not held:
        return Outcome(kind="unverified")
    if answer is None or not held:
        return Outcome(kind="abstained", reason=_why(answer, stop, evidence, source_changed))
    if stop not in FINISHED:
        return Outcome(kind="partial")
    whole = len(held) == len(answer.claims)
    if answer.extractive:
        return Outcome(kind="quotes", reason="nothing_verified" if answer.replaced else None)
    return Outcome(kind="answered" if whole and not answer.replaced else "partial")


def _why(
    answer: Answer | None, stop: StopReason, evidence: int, source_changed: int
) -> AbstainReason:
    """The reason for an abstention."""
    finished = stop in FINISHED
    if source_changed and not evidence:
        return "source_changed"
    if answer is None or not evidence:
        cut: AbstainReason = "cancelled" if stop == "cancelled" else "out_of_budget"
        return "nothing_found" if finished else cut
    return "not_in_evidence" if answer.abstains else "nothing_verified"
