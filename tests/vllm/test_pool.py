"""The whole road against the real server: `pool` over the example corpus, eight runs in flight.

The model's words are noise, but under a schema they are every legal value: a loop that ends in
budget here ends anywhere. What is asserted is the protocol, never the answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from support.chat_server import FakeServer, says, status

from hoptrail.agents import Budget, KnowledgeBase, Receipt, RunSettings, aask, open_library
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.types import Endpoint
from hoptrail.agents.runs.receipt import schema
from hoptrail.agents.types import StopReason
from hoptrail.evals.datasets.native import load_dataset
from hoptrail.evals.datasets.types import Question
from hoptrail.evals.metrics.aggregate import average
from hoptrail.evals.metrics.ranking import recall
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.errors import ModelError
from hoptrail.rag.ingest.pipeline import ingest
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store, StoreSpec

from .conftest import unavailable  # noqa: TID252 (see conftest.py)
from .server import VllmServer  # noqa: TID252

ROLES = ("plan", "refine", "assess", "next_query", "answer")
BUDGET = Budget(calls=30, tokens=60_000, searches=40, seconds=900.0)
IN_FLIGHT = 8
QUESTIONS = 30
USED = 0.9
"""Share of a role's calls that the server must have answered usably."""


@dataclass(frozen=True, kw_only=True)
class RoleCount:
    """How the calls of one role ended."""

    calls: int
    used: int
    re_asks: int
    failures: tuple[tuple[str, int], ...]


def count_roles(receipts: Sequence[Receipt]) -> dict[str, RoleCount]:
    """The role calls of many runs, by role."""
    counts = {}
    for role in ROLES:
        uses = [
            s.use for r in receipts for s in r.steps if s.use is not None and s.use.role == role
        ]
        failures = Counter(use.failure for use in uses if use.failure)
        counts[role] = RoleCount(
            calls=len(uses),
            used=sum(not use.failure for use in uses),
            re_asks=sum(use.re_asks for use in uses),
            failures=tuple(sorted(failures.items())),
        )
    return counts


def used_share(receipts: Sequence[Receipt]) -> float:
    """The share of all role calls that were answered by the server, parsed and used."""
    counts = count_roles(receipts).values()
    return sum(c.used for c in counts) / max(1, sum(c.calls for c in counts))


def make_library(folder: Path, world: Path, lexical: str, dense: str) -> KnowledgeBase:
    """The example corpus behind the given backends."""
    try:
        embedder = load_embedder("minilm")
    except Exception as error:
        unavailable(str(error))
    spec = StoreSpec(
        embedder=embedder.id, dimension=embedder.dimension, lexical=lexical, dense=dense
    )  # type: ignore[arg-type]
    with Store.create(folder, spec) as store:
        ingest([world / "corpus.jsonl"], store, embedder)
    return open_library(folder, embedder=embedder)


@pytest.fixture(scope="module")
def minilm_library(
    tmp_path_factory: pytest.TempPathFactory, world: Path
) -> Iterator[KnowledgeBase]:
    with make_library(tmp_path_factory.mktemp("store"), world, "tantivy", "exact") as opened:
        yield opened


async def ask_all(
    questions: Sequence[str], library: KnowledgeBase, endpoint: Endpoint, strategy: str = "pool"
) -> list[Receipt]:
    gate = asyncio.Semaphore(IN_FLIGHT)
    # By turns: the defaults, and quotes that the refiner chooses with claims that the model writes.
    by_turns = (RunSettings(), RunSettings(context="quotes", claims_by="model"))

    async def one(number: int, question: str) -> Receipt:
        async with gate:
            return await aask(
                question, library, strategy=strategy, model=endpoint, budget=BUDGET,
                settings=by_turns[number % 2],
            )  # fmt: skip

    return await asyncio.gather(*(one(n, question) for n, question in enumerate(questions)))


def run_all(
    questions: Sequence[str], library: KnowledgeBase, server: VllmServer, strategy: str = "pool"
) -> list[Receipt]:
    async def main() -> list[Receipt]:
        endpoint = HttpEndpoint(server.url, api_key=server.served.api_key)
        try:
            return await ask_all(questions, library, endpoint, strategy)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def check(receipt: Receipt) -> None:
    """In budget, typed, valid, and every quote in its document."""
    jsonschema.validate(receipt.record(), schema())
    spent, budget = receipt.usage, receipt.budget
    assert spent.calls <= budget.calls
    assert spent.tokens <= budget.tokens
    assert spent.searches <= budget.searches
    assert receipt.stop in get_args(StopReason)
    assert receipt.flags == ()
    assert receipt.model == "tiny"


def test_pool_over_thirty_questions(
    vllm_chat: VllmServer, minilm_library: KnowledgeBase, world: Path
) -> None:
    questions = [q.question for q in load_dataset(world).questions][:QUESTIONS]
    receipts = run_all(questions, minilm_library, vllm_chat)
    assert len(receipts) == QUESTIONS
    for receipt in receipts:
        check(receipt)
        assert minilm_library.store is not None
        for item in receipt.evidence:
            assert minilm_library.store.slice(item.document_id, item.start, item.end) == item.quote
    counts = count_roles(receipts)
    assert all(counts[role].calls for role in ROLES)
    for role in ROLES:
        assert counts[role].used >= USED * counts[role].calls, (role, counts[role])
    assert used_share(receipts) >= USED
    assert minilm_library.runs is not None
    assert list(minilm_library.runs.iterdir()) == []


def test_the_check_fails_against_a_server_that_only_fails(
    minilm_library: KnowledgeBase, world: Path
) -> None:
    """A server that answers 500 to all is told at once; one that begins to, by the same count."""
    questions = [q.question for q in load_dataset(world).questions][:4]
    with FakeServer(status(500)) as server, pytest.raises(ModelError):
        asyncio.run(_over(server.url, questions, minilm_library))
    probe = says('{"word": "qzv7kx"}')
    with FakeServer(*[probe] * len(questions), status(500)) as server:
        receipts = asyncio.run(_over(server.url, questions, minilm_library))
    assert used_share(receipts) < USED
    assert all(receipt.stop == "model_unavailable" for receipt in receipts)


async def _over(url: str, questions: Sequence[str], library: KnowledgeBase) -> list[Receipt]:
    endpoint = HttpEndpoint(url)
    try:
        return await ask_all(questions, library, endpoint)
    finally:
        await endpoint.aclose()


def recall_at_5(opened: KnowledgeBase, questions: Sequence[Question]) -> float:
    """Mean recall@5 of a hybrid search over the answerable questions."""
    assert opened.store is not None
    searcher = Retriever(opened.store, load_embedder("minilm"))
    found = [
        recall(
            [hit.passage.document_id for hit in searcher.search(q.question, k=20).hits],
            set(q.supporting_ids),
            5,
        )
        for q in questions
    ]
    mean = average(found).value
    assert mean is not None
    return mean


def test_the_whole_stack_of_the_user(
    vllm_chat: VllmServer, minilm_library: KnowledgeBase, world: Path, tmp_path: Path
) -> None:
    """rank-bm25, Chroma and vLLM together; their search is as good as the default stack's."""
    dataset = load_dataset(world)
    with make_library(tmp_path / "store", world, "rank-bm25", "chroma") as whole:
        receipts = run_all([q.question for q in dataset.questions][:IN_FLIGHT], whole, vllm_chat)
        for receipt in receipts:
            check(receipt)
        assert used_share(receipts) >= USED
        reached, default = (
            recall_at_5(opened, dataset.questions) for opened in (whole, minilm_library)
        )
    assert abs(reached - default) <= 0.005, (reached, default)
