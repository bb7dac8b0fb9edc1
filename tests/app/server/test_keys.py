"""API keys: who may do what, how much at once, and what a server without keys answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.server import ASK, api_key, bearer, client_of

from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.auth import find_key, key_hash, new_key
from hoptrail.app.server.server_settings import ApiKey, ServerSettings
from hoptrail.app.server.shared.gate import Gate
from hoptrail.rag.errors import SettingsError

CHAT = "/v1/chat/completions"
READS = ("/v1/models", "/v1/documents", "/v1/receipts/x", "/v1/jobs/x", "/metrics")


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), bearer(""), {"Authorization": "Basic x"}])
def test_without_a_right_key_nothing_but_health_is_told(
    shared: TestClient, headers: dict[str, str]
) -> None:
    for path in (*READS, "/v1/documents/Heron"):
        answer = shared.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in (CHAT, "/v1/search", "/retrieval"):
        assert shared.post(path, json=ASK, headers=headers).status_code == 401
    assert shared.put("/v1/documents/x", json={"text": "x"}, headers=headers).status_code == 401
    assert shared.delete("/v1/documents/x", headers=headers).status_code == 401
    assert shared.get("/healthz", headers=headers).status_code == 200
    assert shared.get("/readyz", headers=headers).status_code == 200


def test_a_key_that_may_only_read_changes_nothing(chain_root: Path) -> None:
    with client_of(ServerSettings(store=chain_root, keys=(api_key("k"),))) as client:
        for answer in (
            client.put("/v1/documents/d1", json={"text": "x"}, headers=bearer("k")),
            client.post("/v1/documents", json={"documents": [{"text": "x"}]}, headers=bearer("k")),
            client.delete("/v1/documents/d1", headers=bearer("k")),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "read_only_key")
        assert client.get("/metrics", headers=bearer("k")).status_code == 403
        assert client.get("/v1/documents/d1", headers=bearer("k")).status_code == 200


def test_a_key_is_kept_as_its_hash_and_found_among_others() -> None:
    keys = [new_key() for _ in range(3)]
    known = [ApiKey(name=str(at), hash=key_hash(key)) for at, key in enumerate(keys)]
    assert [find_key(known, key).name for key in keys] == ["0", "1", "2"]  # type: ignore[union-attr]
    assert find_key(known, keys[0][:-1]) is None
    assert find_key((), "") is None
    assert all(key not in repr(known) for key in keys)
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8080"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_without_keys_no_other_site_s_page_is_answered(
    client: TestClient, headers: dict[str, str], status: int
) -> None:
    assert client.get("/v1/models", headers=headers).status_code == status
    assert client.post(CHAT, json=ASK, headers=headers).status_code == status


def test_a_place_is_refused_above_the_limits_and_given_back() -> None:
    async def main() -> None:
        gate = Gate(2)
        one, two = api_key("one", questions=1), api_key("two", questions=5)
        held = gate.enter(one)
        with pytest.raises(ApiError, match="1 questions in flight") as refused:
            gate.enter(one)
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "5")
        gate.enter(two)
        with pytest.raises(ApiError, match="as many questions in flight as it may"):
            gate.enter(two)
        gate.leave(one, held)
        gate.enter(one)
        gate.draining = True
        with pytest.raises(ApiError, match="stopping") as stopped:
            gate.enter(two)
        assert stopped.value.status == 503

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": "0.0.0.0"}, "Without API keys the server listens on this machine only"),
        ({"host": "example.org"}, "Without API keys"),
        ({"keys": (api_key("a"), api_key("a"))}, "Two API keys have one hash"),
        ({"questions": 0}, "questions of \\[server\\] is 0: at least 1"),
        ({"drain_seconds": 0.0}, "drain_seconds of \\[server\\] is 0.0: above 0"),
        ({"port": 70_000}, "The port is 70000"),
        ({"strategy": "none"}, "Unknown strategy 'none'"),
        ({"links": ("evil",)}, "'evil' is no address"),
        ({"public_url": "https://user@host/"}, "is no address"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        ServerSettings(store=tmp_path, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hash": "secret"}, "is no SHA-256"),
        ({"questions": 0}, "questions = 0"),
        ({"events": "maybe"}, "'maybe': use 'auto'"),
    ],
)
def test_a_key_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ApiKey(**{"name": "k", "hash": "0" * 64, **fields})  # type: ignore[arg-type]


def test_with_keys_other_machines_may_be_served(tmp_path: Path) -> None:
    assert ServerSettings(store=tmp_path, host="0.0.0.0", keys=(api_key("k"),)).keys


def test_a_key_whose_tenant_has_no_store_is_told_so_without_a_path(tenants_root: Path) -> None:
    keys = (api_key("k", tenant="gone", write=True), api_key("a", tenant="alpha"))
    with client_of(ServerSettings(store=tenants_root, keys=keys)) as client:
        for _ in range(2):
            answer = client.post(CHAT, json=ASK, headers=bearer("k"))
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_missing")
            assert str(tenants_root) not in answer.text
        assert client.get("/readyz").status_code == 503
        assert client.post(CHAT, json=ASK, headers=bearer("a")).status_code == 200
    assert not (tenants_root / "gone").exists()
