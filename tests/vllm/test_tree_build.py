"""A tree over the example corpus by the real server, whose model writes noise.

What it writes is legal, so it describes documents and even groups them, but its summaries have no
word of what they sum up and are refused. What is asserted is the protocol: the budget holds, what
was answered is kept and not asked again, and the tree is sound whatever it says.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hoptrail.agents import Budget
from hoptrail.agents.indexing.tree_builder import TreeBuildInputs, TreeBuildReport, build_tree
from hoptrail.agents.indexing.tree_estimate import TreeBuildEstimate, estimate_tree
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.builders.build import builder_for, default_spec
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.storage import TreeFile

from .server import VllmServer  # noqa: TID252 (see conftest.py)

SHORT = Budget(calls=20, tokens=20_000, seconds=900.0)
ENOUGH = Budget(calls=999, tokens=10**7, seconds=900.0)


@pytest.fixture
def inputs(store: Store) -> TreeBuildInputs:
    """The documents of the example corpus, under the hash embedder."""
    leaves = StoreLeaves(store, "documents")
    spec = replace(default_spec(leaves, store.spec.embedder, over="documents"), method="top-down")
    return TreeBuildInputs(
        leaves=leaves,
        spec=spec,
        drafts=TreeFile(Layout(root=store.root, tenant=store.tenant)),
        secret=store.secret,
        builder=builder_for(spec),
    )


def built(
    inputs: TreeBuildInputs, server: VllmServer, budget: Budget, timed: int = 0
) -> tuple[TreeBuildEstimate, TreeBuildReport]:
    async def main() -> tuple[TreeBuildEstimate, TreeBuildReport]:
        endpoint = HttpEndpoint(server.url, api_key=server.served.api_key)
        try:
            plan = await estimate_tree(inputs, endpoint, timed=timed)
            return plan, await build_tree(inputs, endpoint, budget=budget, parallel=8)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def test_builds_end_in_budget_and_go_on_until_the_tree_is_whole(
    vllm_chat: VllmServer, inputs: TreeBuildInputs
) -> None:
    leaves = len(inputs.leaves.rows())
    plan, short = built(inputs, vllm_chat, SHORT, timed=4)
    assert (plan.counted_by, plan.model, plan.leaves) == ("server", "tiny", leaves)
    assert plan.seconds is not None
    assert short.stop in ("out_of_calls", "out_of_tokens")
    assert (short.tree, short.flags) == (None, 0)
    assert short.usage.calls <= SHORT.calls
    assert short.usage.tokens <= SHORT.tokens
    plan, whole = built(inputs, vllm_chat, ENOUGH)
    assert plan.kept == short.kept + short.answered
    assert (whole.stop, whole.flags) == ("done", 0)
    assert whole.tree is not None
    assert tree_faults(whole.tree, inputs.leaves.rows().tolist(), inputs.leaves.vectors) == []
    assert whole.kept + whole.answered >= leaves // 2, whole.failures
    assert whole.usage.calls <= 2 * (plan.calls + whole.failed)
