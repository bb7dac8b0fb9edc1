"""A build over the example corpus against the real server, whose model writes noise.

What it writes is legal and names nothing that a passage names, so hardly a triple stays. What is
asserted is the protocol: the budget holds, every passage ends as read, failed or unread, and a
build that ran out goes on.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from hoptrail.agents import Budget
from hoptrail.agents.indexing.graph_builder import GraphBuildReport, build_graph
from hoptrail.agents.indexing.graph_estimate import GraphBuildEstimate, estimate_graph
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store

from .server import VllmServer  # noqa: TID252 (see conftest.py)

PASSAGES = 24
BUDGET = Budget(calls=20, tokens=20_000, seconds=900.0)


def built(
    store: Store, server: VllmServer, budget: Budget, limit: int | None
) -> tuple[GraphBuildEstimate, GraphBuildReport]:
    async def main() -> tuple[GraphBuildEstimate, GraphBuildReport]:
        endpoint = HttpEndpoint(server.url, api_key=server.served.api_key)
        try:
            plan = await estimate_graph(store, endpoint, limit=limit)
            return plan, await build_graph(store, endpoint, plan, budget=budget, parallel=8)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def test_builds_end_in_budget_and_lose_nothing(
    vllm_chat: VllmServer, store: Store, tmp_path: Path
) -> None:
    everything = store.stats().passages
    plan, report = built(store, vllm_chat, BUDGET, None)
    assert (plan.counted_by, plan.passages, plan.model) == ("server", everything, "tiny")
    assert report.stop in ("out_of_calls", "out_of_tokens")
    assert report.usage.calls <= BUDGET.calls
    assert report.usage.tokens <= BUDGET.tokens
    assert report.flags == 0
    assert report.read + report.unread == everything
    assert report.read + report.failed > 0
    plan, again = built(store, vllm_chat, Budget(calls=999, tokens=10**7, seconds=900.0), PASSAGES)
    assert plan.unread == report.unread
    assert again.stop == "done"
    assert again.read + again.failed == PASSAGES
    assert again.unread == report.unread - again.read
    assert again.read >= PASSAGES // 2, again.failures
    assert again.usage.prompt_tokens >= 0.8 * plan.prompt_tokens
    assert store.stats().triples == report.triples + again.triples
    assert fsck(tmp_path).clean
