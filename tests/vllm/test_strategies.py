"""Every strategy over the example corpus against the real server, eight runs in flight.

The model's words are noise: what is asserted is that each run ends in its budget with a valid
receipt, also when the server dies in the middle.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import jsonschema
import pytest

from hoptrail.agents import KnowledgeBase, aask
from hoptrail.agents.events import Event, StepStarted
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.runs.receipt import schema
from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.evals.datasets.native import load_dataset

from .server import VllmServer  # noqa: TID252 (see conftest.py)
from .test_pool import BUDGET, IN_FLIGHT, USED, check, run_all  # noqa: TID252

QUESTIONS = IN_FLIGHT
"""The model never stops by itself: every call takes all tokens that it may."""
ELSEWHERE = {"pool", "lattice"}
"""Strategies with a file of their own."""


def questions_of(world: Path, count: int) -> list[str]:
    return [one.question for one in load_dataset(world).questions][:count]


@pytest.mark.parametrize("strategy", sorted(STRATEGIES.keys() - ELSEWHERE))
def test_questions_end_in_budget(
    vllm_chat: VllmServer, library: KnowledgeBase, world: Path, strategy: str
) -> None:
    receipts = run_all(questions_of(world, QUESTIONS), library, vllm_chat, strategy)
    assert len(receipts) == QUESTIONS
    for receipt in receipts:
        check(receipt)
        assert receipt.strategy == strategy
        assert library.store is not None
        for item in receipt.evidence:
            assert library.store.slice(item.document_id, item.start, item.end) == item.quote
    # A model that writes by chance writes plans whose steps lean on nothing: those may fail.
    uses = [s.use for r in receipts for s in r.steps if s.use and s.use.role != "plan_steps"]
    assert sum(not use.failure for use in uses) >= USED * len(uses) > 0


@pytest.mark.parametrize("strategy", ["plan"])
def test_a_server_that_dies_in_the_middle_leaves_receipts(
    vllm_chat: VllmServer, library: KnowledgeBase, world: Path, strategy: str
) -> None:
    """Each run says that the model went, or had ended before; the next one is answered again."""
    questions = questions_of(world, IN_FLIGHT)

    searching: set[str] = set()

    def kill_when_all_search(question: str, event: Event) -> None:
        """Not before: a run whose server is away when it begins raises `ModelError`."""
        if isinstance(event, StepStarted) and event.round == 1:
            searching.add(question)
            if len(searching) == len(questions) and vllm_chat.running:
                vllm_chat.kill()

    async def ask_all() -> None:
        endpoint = HttpEndpoint(vllm_chat.url, api_key=vllm_chat.served.api_key)
        try:
            receipts = await asyncio.gather(
                *(
                    aask(
                        question, library, strategy=strategy, model=endpoint, budget=BUDGET,
                        on_event=partial(kill_when_all_search, question),
                    )
                    for question in questions
                )
            )  # fmt: skip
        finally:
            await endpoint.aclose()
        for receipt in receipts:
            jsonschema.validate(receipt.record(), schema())
        assert "model_unavailable" in {receipt.stop for receipt in receipts}

    asyncio.run(ask_all())
    vllm_chat.restart()
    (receipt,) = run_all(questions[:1], library, vllm_chat, strategy)
    check(receipt)
    assert receipt.usage.calls
