"""What the real server does at /v1/embeddings, with MiniLM's own weights."""

import math
from operator import mul

import pytest

from .server import VllmServer  # noqa: TID252 (see conftest.py)


def test_embeddings_are_minilms_and_in_the_order_asked(vllm_embeddings: VllmServer) -> None:
    texts = ["The cat sat on the mat.", "A cat lay on a rug.", "Interest rates rose again."]
    with vllm_embeddings.client() as client:
        response = client.post("/v1/embeddings", json={"model": "minilm", "input": texts})
    assert response.status_code == 200, response.text
    body = response.json()
    assert [item["index"] for item in body["data"]] == [0, 1, 2]
    vectors = [item["embedding"] for item in body["data"]]
    assert [len(vector) for vector in vectors] == [384] * 3
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0] * 3, abs=1e-5)
    cat, other_cat, rates = vectors
    assert sum(map(mul, cat, other_cat)) > sum(map(mul, cat, rates)) + 0.3
    assert body["usage"]["prompt_tokens"] > 20


def test_one_overlong_text_refuses_the_whole_batch_unless_truncation_is_asked_for(
    vllm_embeddings: VllmServer,
) -> None:
    """MiniLM takes 256 tokens; truncate_prompt_tokens=-1 means "the model's own limit"."""
    body = {"model": "minilm", "input": ["short", "word " * 400]}
    with vllm_embeddings.client() as client:
        refused = client.post("/v1/embeddings", json=body)
        cut = client.post("/v1/embeddings", json=body | {"truncate_prompt_tokens": -1})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "input_tokens"
    assert cut.status_code == 200
    assert cut.json()["usage"]["prompt_tokens"] == 3 + 256


def test_there_is_no_chat_on_an_embeddings_server(vllm_embeddings: VllmServer) -> None:
    """The 404 has no error object: the path does not exist there, whatever the model."""
    with vllm_embeddings.client() as client:
        response = client.post("/v1/chat/completions", json={})
    assert (response.status_code, response.json()) == (404, {"detail": "Not Found"})
