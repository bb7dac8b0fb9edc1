"""`lattice` over the example corpus against the real server, whose model scores by chance.

What is asserted is the protocol, never the answers: every run ends in its budget, no slate is lost
between search, server and receipt, and nearly every slate is answered, parsed and used.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import jsonschema

from hoptrail.agents import Budget, KnowledgeBase, Receipt, RunSettings, aask
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.runs.receipt import schema
from hoptrail.agents.types import SlateRecord, StopReason
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.rag.tree.search.types import TreeSearchSettings

from .server import VllmServer  # noqa: TID252 (see conftest.py)

QUESTIONS = 20
IN_FLIGHT = 8
BUDGET = Budget(calls=18, tokens=45_000, searches=4, seconds=900.0)
SETTINGS = RunSettings(navigate=TreeSearchSettings(iterations=6))
USED = 0.9
"""Share of the slates put to the server that it must have answered usably."""


def run_all(questions: Sequence[str], library: KnowledgeBase, server: VllmServer) -> list[Receipt]:
    async def main() -> list[Receipt]:
        endpoint = HttpEndpoint(server.url, api_key=server.served.api_key)
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(question: str) -> Receipt:
            async with gate:
                return await aask(
                    question, library, strategy="lattice", model=endpoint, budget=BUDGET,
                    settings=SETTINGS,
                )  # fmt: skip

        try:
            return await asyncio.gather(*(one(question) for question in questions))
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def slates(receipt: Receipt) -> list[SlateRecord]:
    return [slate for step in receipt.steps for slate in step.slates]


def check(receipt: Receipt) -> None:
    """In budget, typed, valid, and every attempt at the server accounted for."""
    jsonschema.validate(receipt.record(), schema())
    spent, budget = receipt.usage, receipt.budget
    assert spent.calls <= budget.calls
    assert spent.tokens <= budget.tokens
    assert spent.searches == 1
    assert receipt.stop in get_args(StopReason)
    assert receipt.flags == ()
    of_steps = [step.use for step in receipt.steps if step.use is not None]
    of_slates = [use for slate in slates(receipt) for use in slate.uses]
    assert sum(use.attempts for use in (*of_steps, *of_slates)) <= spent.calls
    for slate in slates(receipt):
        assert len(slate.scores) == len(slate.shown)
        assert 1 <= len(slate.uses) <= 2
        assert slate.failed == all(
            score is None for score in slate.scores[: len(slate.shown) - slate.anchors]
        )
    (ended,) = [step for step in receipt.steps if step.action == "found"]
    told = re.search(r"(\d+) slates", ended.detail)
    assert told is not None
    assert int(told[1]) == len(of_slates)


def test_lattice_over_twenty_questions(
    vllm_chat: VllmServer, library: KnowledgeBase, world: Path
) -> None:
    questions = [q.question for q in load_dataset(world).questions][:QUESTIONS]
    receipts = run_all(questions, library, vllm_chat)
    assert len(receipts) == QUESTIONS
    for receipt in receipts:
        check(receipt)
        assert receipt.candidates
        assert slates(receipt)
    built = [r for r in receipts if any("built a tree" in step.action for step in r.steps)]
    assert len(built) == 1
    uses = [use for r in receipts for slate in slates(r) for use in slate.uses]
    put = [use for use in uses if use.failure not in ("out_of_calls", "out_of_tokens")]
    failures = Counter(use.failure for use in put if use.failure)
    assert len(put) >= QUESTIONS * 5
    assert sum(not use.failure for use in put) >= USED * len(put), failures
    # Under the schema every number has its score: what is unscored belongs to a failed slate.
    whole = [s for r in receipts for s in slates(r) if not s.failed]
    assert all(score is not None for slate in whole for score in slate.scores)
    assert library.runs is not None
    assert list(library.runs.iterdir()) == []
