"""One question asked of one trial: its scores, what the model did role by role, its recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from hoptrail.agents import Budget, Receipt, aask
from hoptrail.agents.corpus.open_store import OpenStore
from hoptrail.agents.runs.models import RoleModels
from hoptrail.agents.runs.recording import Recording
from hoptrail.agents.types import ModelUse
from hoptrail.evals.benchmarks.models.trials import Trial
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.results import is_unanswerable, result_of

BUDGET = Budget(calls=40, tokens=120_000, searches=60, seconds=1_800.0)
"""Of one question: wide, for a small model on a CPU reads a hundred tokens a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCount:
    """What became of the calls of one role."""

    used: int = 0
    """Replies that were used."""
    re_asked: int = 0
    fell_back: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One question of one trial."""

    trial: str
    dataset: str
    id: str
    unanswerable: bool
    em: float | None
    f1: float | None
    contains: float | None
    """Of the short answer or the quotes shown with it."""
    outcome: str
    written: bool
    """Whether the model wrote the answer."""
    answer: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    prefix: float | None
    """Share, 0..1, of the characters of prompts after the first that an earlier prompt of the run
    begins with; None: fewer than two prompts."""
    roles: Mapping[str, RoleCount] = field(default_factory=dict)


ROW = TypeAdapter(Measured)


async def measured(
    trial: Trial,
    dataset: str,
    question: Question,
    store: OpenStore,
    models: RoleModels,
    recording: Path,
) -> Measured:
    """Asks one question, keeps its recording, and scores the receipt."""
    recording.parent.mkdir(parents=True, exist_ok=True)
    recording.unlink(missing_ok=True)
    receipt = await aask(
        question.question,
        store,
        strategy=trial.strategy,
        model=models if trial.served else None,
        budget=BUDGET,
        settings=trial.settings,
        record=recording,
    )
    scored = result_of(question, receipt)
    return Measured(
        trial=trial.name,
        dataset=dataset,
        id=question.id,
        unanswerable=is_unanswerable(question),
        em=scored.scores["em"],
        f1=scored.scores["f1"],
        contains=scored.scores["contains"],
        outcome=receipt.outcome.kind,
        written=bool(receipt.answer) and not receipt.extractive,
        answer=receipt.answer,
        calls=receipt.usage.calls,
        prompt_tokens=receipt.usage.prompt_tokens,
        completion_tokens=receipt.usage.completion_tokens,
        seconds=receipt.usage.seconds,
        prefix=prefix_share(prompts(recording)),
        roles=_roles(receipt),
    )


def _roles(receipt: Receipt) -> dict[str, RoleCount]:
    uses: list[ModelUse] = [step.use for step in receipt.steps if step.use]
    uses += [use for step in receipt.steps for slate in step.slates for use in slate.uses]
    used, re_asked, fell_back = Counter[str](), Counter[str](), Counter[str]()
    for use in uses:
        (fell_back if use.failure else used)[use.role] += 1
        re_asked[use.role] += use.re_asks
    return {
        role: RoleCount(used=used[role], re_asked=re_asked[role], fell_back=fell_back[role])
        for role in sorted({use.role for use in uses})
    }


def prompts(recording: Path) -> list[str]:
    """The prompts of a recording's model calls, in order, each as one text."""
    return [
        "\n".join(f"{one['role']}: {one['content']}" for one in entry.arguments["messages"])
        for entry in Recording.read(recording).entries
        if entry.kind == "endpoint.attempt"
    ]


def prefix_share(texts: Sequence[str]) -> float | None:
    """Share, 0..1, of the characters of all prompts but the first that a server's cache may hold.

    That is, of each prompt the longest beginning that it has in common with an earlier one.
    """
    if len(texts) < 2:
        return None
    shared = sum(
        max(_common(text, earlier) for earlier in texts[:place])
        for place, text in enumerate(texts)
        if place
    )
    return shared / sum(len(text) for text in texts[1:])


def _common(one: str, other: str) -> int:
    """Length of the common beginning of two texts."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[:middle] == other[:middle]:
            least = middle
        else:
            most = middle - 1
    return least
