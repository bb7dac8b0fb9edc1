"""False claims caught and true claims kept, by kind of claim: by code, by a model, by both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.roles.base import ClaimToJudge
from hoptrail.agents.roles.claim_rules.claim_check import check
from hoptrail.agents.roles.verifier import ServedEntailment
from hoptrail.evals.benchmarks.verification.probe_set import Probe

_AT_ONCE = 4
"""Questions to the model that are open at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationScore:
    """What one checker makes of the probes of one kind and split."""

    checker: str
    """`code`, `model` or `both`."""
    split: str
    kind: str
    false: int
    caught: int
    true: int
    kept: int
    unjudged: int = 0
    """Claims on which the model gave no opinion; they count as held."""


def code_verdict(probe: Probe) -> bool:
    """Whether a probe's claim holds by the rules."""
    return check(probe.as_claim(), {q.id: q for q in probe.quotes}).verdict == "holds"


async def model_verdicts(endpoint: Endpoint, probes: Sequence[Probe]) -> list[bool | None]:
    """Whether each probe's claim holds by a served model; None: no opinion. One call a claim."""
    budget = Budget(calls=20 * len(probes), tokens=10_000 * len(probes), seconds=86_400)
    client = LLMClient(RetryingEndpoint(endpoint, Ledger.open(None, budget), timeout=300.0))
    await client.prepare()
    model = ServedEntailment(client, Delimiters.of(b"verification benchmark"))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def judge(probe: Probe) -> bool | None:
        async with slots:
            result = await model.judge([ClaimToJudge(text=probe.claim, quotes=probe.quotes)])
        (opinion,) = result.value
        return None if opinion is None else opinion.entailed

    return await asyncio.gather(*map(judge, probes))


def scores(
    checker: str, probes: Sequence[Probe], verdicts: Sequence[bool | None]
) -> list[VerificationScore]:
    """One row a kind and split, and one for all kinds of a split and of both."""
    pairs = list(zip(probes, verdicts, strict=True))

    def row(split: str, kind: str, chosen: Callable[[Probe], bool]) -> VerificationScore:
        mine = [(probe.holds, verdict) for probe, verdict in pairs if chosen(probe)]
        return VerificationScore(
            checker=checker,
            split=split,
            kind=kind,
            false=sum(not holds for holds, _ in mine),
            caught=sum(not holds and verdict is False for holds, verdict in mine),
            true=sum(holds for holds, _ in mine),
            kept=sum(holds and verdict is not False for holds, verdict in mine),
            unjudged=sum(verdict is None for _, verdict in mine),
        )

    rows = []
    for split in ("dev", "test"):
        kinds = sorted({probe.kind for probe in probes if probe.split == split})
        rows += [
            row(split, kind, lambda p, s=split, k=kind: (p.split, p.kind) == (s, k))  # type: ignore[misc]
            for kind in kinds
        ]
        rows.append(row(split, "all", lambda p, s=split: p.split == s))  # type: ignore[misc]
    rows.append(row("both", "all", lambda _: True))
    return rows
