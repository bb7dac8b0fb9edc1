"""Search over HTTP, and Dify's external knowledge API."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from support.agents import CHAIN

DIFY: dict[str, Any] = {
    "knowledge_id": "default",
    "query": "Where was Ilsa Corrin born?",
    "retrieval_setting": {"top_k": 3, "score_threshold": 0.1},
}


def test_hits_are_passages_of_their_documents(client: TestClient) -> None:
    body = client.post("/v1/search", json={"query": "Ilsa Corrin", "k": 4}).json()
    assert len(body["hits"]) == 4
    assert body["hits"][0]["document_id"] == "d2"
    scores = [one["score"] for one in body["hits"]]
    assert scores == sorted(scores, reverse=True)
    for one in body["hits"]:
        assert CHAIN[one["document_id"]][1][one["start"] : one["end"]] == one["text"]
        assert client.get(one["url"]).status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"query": ""}, {}, {"query": "x", "k": 0}, {"query": "x", "k": 101}, {"query": "x" * 20_001},
     {"query": "x", "mode": "magic"}, {"query": "x", "where": {"a": {}}}],
)  # fmt: skip
def test_a_search_that_cannot_be_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_a_filter_of_a_search(client: TestClient) -> None:
    body = {"query": "Heron", "where": {"kind": "d6"}, "mode": "lexical"}
    hits = client.post("/v1/search", json=body).json()["hits"]
    assert [one["document_id"] for one in hits] == ["d6"]


@pytest.mark.parametrize("path", ["/retrieval", "/v1/retrieval"])
def test_dify_gets_records_with_scores_and_metadata(client: TestClient, path: str) -> None:
    records = client.post(path, json=DIFY).json()["records"]
    assert 1 <= len(records) <= 3
    assert records[0]["score"] == 1.0
    for one in records:
        assert set(one) == {"content", "score", "title", "metadata"}
        assert 0.1 <= one["score"] <= 1.0
        assert one["metadata"]["document_id"] in CHAIN
    other = client.post(path, json=DIFY | {"knowledge_id": "other"})
    assert (other.status_code, other.json()["error_code"]) == (404, 2001)
    assert other.json()["error_msg"] == other.json()["error"]["message"]


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"name": ["kind"], "comparison_operator": "is", "value": "d2"}, {"d2"}),
        ({"name": ["kind"], "comparison_operator": "is not", "value": "d2"}, set(CHAIN) - {"d2"}),
        ({"name": ["kind"], "comparison_operator": "contains", "value": "3"}, {"d3"}),
        ({"name": ["kind"], "comparison_operator": "end with", "value": "4"}, {"d4"}),
        ({"name": ["kind"], "comparison_operator": "≥", "value": "d7"}, {"d7", "d8"}),
        ({"name": ["gone"], "comparison_operator": "empty"}, set(CHAIN)),
        ({"name": ["gone"], "comparison_operator": "not empty"}, set()),
        ({"name": ["gone", "kind"], "comparison_operator": "=", "value": "d1"}, {"d1"}),
    ],
)
def test_dify_s_conditions_filter(
    client: TestClient, condition: dict[str, Any], kept: set[str]
) -> None:
    body = {
        **DIFY,
        "retrieval_setting": {"top_k": 20, "score_threshold": 0},
        "metadata_condition": {"logical_operator": "and", "conditions": [condition]},
    }
    records = client.post("/retrieval", json=body).json()["records"]
    assert {one["metadata"]["document_id"] for one in records} == kept


def test_an_operator_that_dify_does_not_have_is_refused(client: TestClient) -> None:
    condition = {"name": ["kind"], "comparison_operator": "like", "value": "d"}
    answer = client.post(
        "/retrieval", json={**DIFY, "metadata_condition": {"conditions": [condition]}}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_operator"
