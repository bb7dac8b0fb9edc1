"""A real, very small language model behind the product: it writes answers, some are verified."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from hoptrail.agents import Budget, Receipt, ServedModel, ask
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.evals.datasets.native import load_dataset

from .build import Layout, default_folder  # noqa: TID252
from .conftest import unavailable  # noqa: TID252
from .real_models import folder_of, served  # noqa: TID252
from .server import VllmServer  # noqa: TID252

NAME = "smollm2-135m"
BUDGET = Budget(calls=20, tokens=60_000, searches=20, seconds=900.0)
QUESTIONS = 5


@pytest.fixture(scope="module")
def real_model(vllm_build: Layout) -> Iterator[VllmServer]:
    """SmolLM2 with 135 million parameters, on vLLM."""
    if not folder_of(NAME, default_folder()).exists():
        unavailable(f"no {NAME} here: `python tests/vllm/real_models.py {NAME} --fetch` makes it")
    with VllmServer(served(NAME, default_folder())) as server:
        yield server


@pytest.fixture(scope="module")
def receipts(real_model: VllmServer, library: KnowledgeBase, world: Path) -> list[Receipt]:
    """The receipts of a few questions of the example world."""
    questions = islice(load_dataset(world).questions, QUESTIONS)
    model = ServedModel(url=real_model.url)
    return [
        ask(one.question, library, strategy="single", model=model, budget=BUDGET)
        for one in questions
    ]


def test_a_real_model_writes_a_verified_answer(receipts: list[Receipt]) -> None:
    written = [one for one in receipts if one.answer and not one.extractive]
    assert written, [(one.outcome, one.dropped) for one in receipts]
    for one in written:
        assert one.claims
        assert all(claim.verdict == "holds" and claim.evidence for claim in one.claims)


def test_its_replies_are_used(receipts: list[Receipt]) -> None:
    uses = [step.use for one in receipts for step in one.steps if step.use]
    assert {use.role for use in uses} == {"answer"}
    assert sum(bool(use.failure) for use in uses) <= 1, [use.problem for use in uses]
