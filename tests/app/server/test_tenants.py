"""Tenants of one server: none sees another's text, id, receipt, job, link or count."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from starlette.testclient import TestClient
from support.server import bearer, open_any

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.shared.tenants import Tenants
from hoptrail.rag.errors import StoreMissing

OTHER = {"alpha": re.compile("Betaburg|Bethmann|beta|1902"), "beta": re.compile("Alphaville|alpha")}
"""What no answer to a tenant may hold."""

requests = some.lists(
    some.tuples(
        some.sampled_from(["alpha", "beta"]),
        some.sampled_from(["ask", "stream", "search", "dify", "list", "view", "receipt", "job"]),
        some.sampled_from(["Where was the Heron built?", "Bert Bethmann", "Alphaville", "1902"]),
    ),
    min_size=2,
    max_size=6,
)


def sent(client: TestClient, tenant: str, kind: str, text: str, foreign: list[str]) -> str:
    """What a tenant's request of a kind is answered; `foreign` are ids of the other's receipts."""
    headers = bearer(f"key-{tenant}")
    asked = {"model": "hoptrail/single", "messages": [{"role": "user", "content": text}]}
    posts: dict[str, tuple[str, dict[str, Any]]] = {
        "ask": ("/v1/chat/completions", asked),
        "stream": ("/v1/chat/completions", {**asked, "stream": True}),
        "search": ("/v1/search", {"query": text}),
        "dify": ("/retrieval", {"knowledge_id": tenant, "query": text}),
    }
    gets = {
        "list": "/v1/documents",
        "view": "/v1/documents/Heron",
        "receipt": f"/v1/receipts/{foreign[0]}",
        "job": f"/v1/jobs/{foreign[1]}",
    }
    if kind in posts:
        path, body = posts[kind]
        return client.post(path, json=body, headers=headers).text.replace(text, "")
    answer = client.get(gets[kind], headers=headers)
    assert answer.status_code == (404 if kind in ("receipt", "job") else 200)
    return answer.text


@pytest.fixture(scope="module")
def foreign(shared: TestClient) -> dict[str, list[str]]:
    """Ids of a receipt and a job of the other tenant, by tenant."""
    found = {}
    for tenant, other in (("alpha", "beta"), ("beta", "alpha")):
        headers = bearer(f"key-{other}")
        asked = {"model": "hoptrail/single", "messages": [{"role": "user", "content": "Heron?"}]}
        body = shared.post("/v1/chat/completions", json=asked, headers=headers).json()
        job = shared.put(
            f"/v1/documents/of-{other}", json={"text": f"Of {other}."}, headers=headers
        )
        found[tenant] = [body["hoptrail"]["receipt_id"], job.json()["id"]]
    return found


@given(requests)
@settings(max_examples=15)
def test_requests_side_by_side_hold_nothing_of_the_other_tenant(
    shared: TestClient, foreign: dict[str, list[str]], requests: list[tuple[str, str, str]]
) -> None:
    answers: list[tuple[str, str]] = []

    def send(tenant: str, kind: str, text: str) -> None:
        answers.append((tenant, sent(shared, tenant, kind, text, foreign[tenant])))

    threads = [threading.Thread(target=send, args=one) for one in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(requests)
    for tenant, text in answers:
        assert not OTHER[tenant].search(text.replace("alphabet", "")), text


def test_the_counters_name_no_tenant_key_or_text(shared: TestClient) -> None:
    text = shared.get("/metrics", headers=bearer("key-alpha")).text
    assert "hoptrail_questions_total" in text
    assert not re.search("alpha|beta|Heron|key-", text)
    assert shared.get("/metrics", headers=bearer("key-beta")).status_code == 403


def test_idle_stores_are_closed_and_busy_ones_are_not(tenants_root: Path) -> None:
    opened: list[str] = []
    open_one = open_any(tenants_root)

    def counted(tenant: str) -> KnowledgeBase:
        opened.append(tenant)
        return open_one(tenant)

    async def main() -> None:
        tenants = Tenants(counted, 1)
        async with tenants.reading("alpha") as first, tenants.reading("alpha") as again:
            assert first is again
            with pytest.raises(ApiError, match="as many stores open") as refused:
                async with tenants.reading("beta"):
                    pass
            assert refused.value.status == 429
        async with tenants.reading("beta"):
            assert len(tenants) == 1
        async with tenants.reading("alpha") as reopened:
            assert reopened.search("Heron").hits
        assert opened == ["alpha", "beta", "alpha"]
        await tenants.close()

    asyncio.run(main())


def test_a_store_that_cannot_be_opened_takes_no_place(tmp_path: Path) -> None:
    async def main() -> None:
        tenants = Tenants(open_any(tmp_path), 1)
        for tenant in ("alpha", "beta"):
            with pytest.raises(StoreMissing):
                async with tenants.reading(tenant):
                    pass
        assert len(tenants) == 0

    asyncio.run(main())


def test_many_at_once_open_a_store_once(tenants_root: Path) -> None:
    opened: list[str] = []
    open_one = open_any(tenants_root)

    def counted(tenant: str) -> KnowledgeBase:
        opened.append(tenant)
        return open_one(tenant)

    async def main() -> None:
        tenants = Tenants(counted, 2)

        async def use() -> None:
            async with tenants.reading("alpha"):
                await asyncio.sleep(0)

        await asyncio.gather(*(use() for _ in range(20)))
        await tenants.close()

    asyncio.run(main())
    assert opened == ["alpha"]
