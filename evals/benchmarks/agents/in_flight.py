"""Benchmark of many questions in flight with a served model that takes a fixed time.

    python -m hoptrail.evals.benchmarks.agents.in_flight [--questions 128] [--at-once 64]
        [--latency 0.3] [--strategy pool] [--embedder minilm] [--json]

Over the documents of examples/world, ingested into a temporary store. The model is an endpoint in
this process that sleeps and replies from a table; nothing of it costs CPU. If only its latency
counted, `at once / (calls a question x latency)` questions would end each second, with the calls
that were really made. What is lost against that is the CPU that this process needs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hoptrail.agents.budget.limits import Budget, ReportedUsage
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.types import ChatReply, ChatRequest, Message, ServerInfo
from hoptrail.evals.benchmarks.agents.many_at_once import questions_of
from hoptrail.rag.embedders.loading import DEFAULT_EMBEDDER

_WORLD = Path(__file__).resolve().parents[3] / "examples" / "world"
_SECONDS = 600.0
"""The budget of a question: none may end because this machine is slow."""
_INFO = ServerInfo(model="sleeper", max_model_len=None, enforces_schema=True, tokenizes=False)
_USAGE = ReportedUsage(prompt_tokens=1000, completion_tokens=20)
_REPLIES = {
    "PlanForm": {"needs": [{"text": "Who is it?", "subject": ""}], "asks": "thing"},
    "RefineForm": {"sentences": [1, 2, 3]},
    "AssessForm": {"known": "A little.", "missing": ["when it was built"]},
    "QueriesForm": {"queries": ["when it was built"]},
    "AnswerForm": {
        "claims": [{"text": "It was built in 1884.", "evidence": [1]}],
        "answer": "1884",
    },
    "BriefForm": {"answer": "1884"},
    "VerifyForm": {"claims": [{"claim": 1, "reason": "It says so.", "label": "stated"}]},
}


class Sleeper:
    """An `Endpoint` whose every reply takes the same time.

    Args:
        latency: seconds.
    """

    def __init__(self, latency: float) -> None:
        self.calls = 0
        self._latency = latency

    async def attempt(
        self,
        request: ChatRequest,
        *,
        timeout: float,
        on_delta: Callable[[str], None] | None = None,
    ) -> ChatReply:
        """The reply of the table, after the time that it takes."""
        self.calls += 1
        await asyncio.sleep(self._latency)
        text = json.dumps(_REPLIES[request.schema_name])
        if request.stream and on_delta is not None:
            on_delta(text)
        return ChatReply(text=text, finish_reason="stop", usage=_USAGE, model=_INFO.model)

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        """None: prompts are bounded by their length."""
        return None

    async def info(self) -> ServerInfo:
        """Of a server that enforces schemas."""
        return _INFO

    def learn(self, info: ServerInfo) -> None:
        """Everything is known."""

    async def aclose(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Throughput and memory of many questions in flight."""

    questions: int
    at_once: int
    latency: float
    """Seconds a call of the model."""
    strategy: str
    calls: float
    """A question, as made."""
    per_second: float
    """Questions that ended a second."""
    latency_allows: float
    """Questions a second if nothing but the model took time."""
    share: float
    """Of what latency allows, 0..1."""
    cpu_ms: float
    """Of the whole process, a question."""
    memory_kb: float
    """Most memory that Python had at one time for one of the questions in flight (tracemalloc)."""
    stops: dict[str, int]
    """Questions by stop reason."""


async def in_flight(
    knowledge: KnowledgeBase,
    asked: Sequence[str],
    *,
    at_once: int,
    latency: float,
    strategy: str = "pool",
) -> InFlight:
    """Asks all questions, as many at once as given; then as many again to measure their memory."""
    stops = await _asked(knowledge, asked[:1], 1, Sleeper(0.0), strategy)
    endpoint = Sleeper(latency)
    wall, cpu = time.perf_counter(), time.process_time()
    stops = await _asked(knowledge, asked, at_once, endpoint, strategy)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    calls = endpoint.calls / len(asked)
    allowed = at_once / (calls * latency)
    return InFlight(
        questions=len(asked),
        at_once=at_once,
        latency=latency,
        strategy=strategy,
        calls=calls,
        per_second=len(asked) / wall,
        latency_allows=allowed,
        share=len(asked) / wall / allowed,
        cpu_ms=1000 * cpu / len(asked),
        memory_kb=await _memory(knowledge, asked[:at_once], latency, strategy) / 1000,
        stops=dict(stops.most_common()),
    )


async def _memory(
    knowledge: KnowledgeBase, asked: Sequence[str], latency: float, strategy: str
) -> float:
    """Bytes a question when all are in flight."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await _asked(knowledge, asked, len(asked), Sleeper(latency), strategy)
        return (tracemalloc.get_traced_memory()[1] - before) / len(asked)
    finally:
        tracemalloc.stop()


async def _asked(
    knowledge: KnowledgeBase, asked: Sequence[str], at_once: int, model: Sleeper, strategy: str
) -> Counter[str]:
    """Asks all, `at_once` at a time, and counts why they stopped."""
    places, budget = asyncio.Semaphore(at_once), Budget(seconds=_SECONDS)

    async def one(question: str) -> str:
        async with places:
            receipt = await knowledge.aask(question, strategy=strategy, model=model, budget=budget)
        return receipt.stop

    return Counter(await asyncio.gather(*map(one, asked)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures as the arguments say and prints the figures; returns the exit code."""
    parser = argparse.ArgumentParser(description="Questions in flight with a slow model.")
    parser.add_argument("--questions", type=int, default=128, metavar="N", help="in all")
    parser.add_argument("--at-once", type=int, default=64, metavar="N", help="in flight")
    parser.add_argument("--latency", type=float, default=0.3, help="seconds a call of the model")
    parser.add_argument("--strategy", default="pool")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    known = questions_of(_WORLD / "questions.jsonl")
    asked = [known[at % len(known)] for at in range(options.questions)]
    with tempfile.TemporaryDirectory() as folder:
        made = KnowledgeBase.create(Path(folder) / "store", embedder=options.embedder)
        with made as knowledge:
            knowledge.ingest(_WORLD / "corpus.jsonl")
            found = asyncio.run(
                in_flight(
                    knowledge,
                    asked,
                    at_once=options.at_once,
                    latency=options.latency,
                    strategy=options.strategy,
                )
            )
    shown = asdict(found)
    lines = (
        f"{name:>14}  {value:.3f}" if isinstance(value, float) else f"{name:>14}  {value}"
        for name, value in shown.items()
    )
    sys.stdout.write((json.dumps(shown) if options.json else "\n".join(lines)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
