"""Jobs: bounded, in order for a tenant, few at one time, and their ends are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.server import open_any

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.shared.jobs import Jobs
from hoptrail.app.server.shared.tenants import Tenants
from hoptrail.rag.errors import StoreFull
from hoptrail.rag.types import Document


def document(name: str) -> Document:
    return Document(id=name, title=name, text=name)


def test_jobs_of_a_tenant_follow_each_other_and_few_go_on_at_once(tenants_root: Path) -> None:
    done: list[str] = []
    inside, most = 0, 0
    mutex = threading.Lock()

    def store(opened: KnowledgeBase, documents: Sequence[Document]) -> int:
        nonlocal inside, most
        with mutex:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with mutex:
            inside -= 1
            done.append(documents[0].id)
        if documents[0].id == "a1":
            raise StoreFull("/dev/full")
        return len(done)

    async def main() -> None:
        tenants = Tenants(open_any(tenants_root), 4)
        jobs = Jobs(tenants, store, 5)
        names = {f"{tenant[0]}{at}": tenant for tenant in ("alpha", "beta") for at in range(5)}
        made = {name: jobs.add(tenant, [document(name)]) for name, tenant in names.items()}
        with pytest.raises(ApiError, match="wait to be stored") as refused:
            jobs.add("alpha", [document("more")])
        assert refused.value.status == 429
        assert jobs.get("beta", made["a0"].id) is None
        failed = await jobs.finished("alpha", made["a1"])
        assert (failed.state, "/dev" in failed.error, "disk" in failed.error) == (
            "failed", False, True,
        )  # fmt: skip
        await jobs.close()
        assert {jobs.get("alpha", made[f"a{at}"].id).state for at in (0, 2, 3, 4)} == {"done"}  # type: ignore[union-attr]
        await tenants.close()

    asyncio.run(main())
    assert most <= 2
    for tenant in "ab":
        assert [one for one in done if one[0] == tenant] == [f"{tenant}{at}" for at in range(5)]
