"""The records of what is answered: judgement of the evidence, claims, answer, outcome, stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StopReason = Literal[
    "sufficient",
    "unjudged",
    "no_progress",
    "max_rounds",
    "out_of_calls",
    "out_of_tokens",
    "out_of_searches",
    "out_of_time",
    "cancelled",
    "model_unavailable",
]
"""Why a run stopped searching; a closed set, apart from the outcome.

`sufficient`: an assessor found the evidence enough; `unjudged`: the strategy searches as far as it
is made to, and no assessor judged what it found."""

OutcomeKind = Literal["answered", "quotes", "partial", "unverified", "abstained"]
"""`quotes`: the documents' own words that bear on the question; whether they answer it, nothing
judged. `unverified`: a model's answer that no quote states; only `naive` gives one."""

AbstainReason = Literal[
    "nothing_found",
    "not_in_evidence",
    "nothing_verified",
    "source_changed",
    "out_of_budget",
    "cancelled",
]
"""Why there is no answer: the corpus gave nothing; what it gave does not bear on the question;
no claim held against its quotes; the cited documents moved; the budget ended, or the caller
stopped the run, before there was evidence."""

Context = Literal["passages", "quotes", "both"]
"""What a model reads: whole passages, the sentences quoted from them, or both."""

ClaimsBy = Literal["model", "code"]
"""Who finds the claims of an answer: the model, before it answers, as a chain of thought; or the
code, in sentences that contain the model's short answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A judgement of the evidence pool: sufficient, or the facts that are missing."""

    sufficient: bool
    missing: tuple[str, ...] = ()
    found: tuple[tuple[str, str], ...] = ()
    """Variables and values that the evidence is said to state; code looks for the support."""


CheckedBy = Literal["", "code", "model", "both"]
"""Who gave a claim its verdict: the rules, a model, both in agreement; empty: not checked, or not
recorded by an earlier version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence of the answer, with the ids of the evidence that it cites."""

    text: str
    evidence: tuple[str, ...]
    verdict: Literal["unchecked", "holds", "dropped"] = "unchecked"
    reason: str = ""
    """Why the claim was dropped; empty where it holds."""
    checked_by: CheckedBy = ""
    probability: float | None = None
    """0..1, that a model gave to its being stated; None: none did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computation:
    """A number of the short answer, worked out from what claims and quotes state."""

    operator: Literal["difference", "sum", "count"]
    operands: tuple[str, ...]
    """The numbers, the larger first; of a count, what is counted: claims, or ids of evidence."""
    result: str
    evidence: tuple[str, ...]
    """Ids of the quotes of the claims that hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: a short text, and the claims that support it."""

    text: str
    claims: tuple[Claim, ...]
    extractive: bool
    """True: the documents' own words, no model reasoned over them."""
    abstains: bool = False
    """True: the answerer found that the evidence does not answer the question."""
    replaced: bool = False
    """True: the text said more than the claims that hold, so they replace it."""
    unverified: bool = False
    """True: the text stays as it is, whatever the claims support."""
    computation: Computation | None = None
    """How a number in the text follows from the claims, where none of them states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run: answered, partial, or abstained with the reason."""

    kind: OutcomeKind
    reason: AbstainReason | None = None
