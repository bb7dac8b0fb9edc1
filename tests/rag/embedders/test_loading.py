"""Every embedder keeps the protocol; the door opens the right one; what the hash one promises."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.embedding_server import embedding_server
from support.tiny_bert import write_tiny_bert

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.embedders.minilm import MiniLMEmbedder
from hoptrail.rag.embedders.openai import OpenAIEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Passage, embedding_text

ODD = [
    "",
    " ",
    "\x00",
    "\ud800",
    "\u202e",
    "ship",
    "SHIP " * 500,
    "船が沈んだ",
    "🚢" * 40,
    "e\u0301",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=["hash-64", "minilm", "server"])
def embedder(request: pytest.FixtureRequest, folder: Path) -> Iterator[Embedder]:
    match request.param:
        case "server":
            with embedding_server() as server:
                opened = load_embedder(server.url)
                assert isinstance(opened, OpenAIEmbedder)
                yield opened
                opened.close()
        case "minilm":
            yield load_embedder(f"minilm:{folder}")
        case spec:
            yield load_embedder(spec)


def test_keeps_the_protocol(embedder: Embedder) -> None:
    assert isinstance(embedder, Embedder)
    assert embedder.id
    assert embedder.window >= 1
    for kind in ("query", "passage"):
        vectors = embedder.embed(ODD, kind)
        assert vectors.shape == (len(ODD), embedder.dimension)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_text_is_no_row(embedder: Embedder) -> None:
    vectors = embedder.embed([])
    assert (vectors.shape, vectors.dtype) == ((0, embedder.dimension), np.float32)


def test_order_and_repetition_are_kept(embedder: Embedder) -> None:
    once = embedder.embed(ODD)
    again = embedder.embed([*ODD[::-1], *ODD])
    assert np.allclose(again, np.concatenate([once[::-1], once]), atol=1e-5)


@given(texts=st.lists(st.text(max_size=30), max_size=5), dimension=st.integers(1, 130))
def test_hash_vectors_are_unit_vectors_for_any_text(texts: list[str], dimension: int) -> None:
    vectors = HashEmbedder(dimension).embed(texts)
    assert vectors.shape == (len(texts), dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_hash_vectors_are_the_same_everywhere() -> None:
    vector = HashEmbedder(8).embed(["Ship ship harbour"])[0]
    # Signs of the two words' bits; 1 + ln 2 for the word that stands twice.
    low, high = np.log(2), 2 + np.log(2)
    signed = [-low, -low, -low, -low, -high, high, -low, -low]
    assert vector.tolist() == pytest.approx(signed / np.linalg.norm(signed), abs=1e-6)


def test_texts_that_share_words_are_near() -> None:
    texts = ["the ship sank near the harbour", "a ship left that harbour", "bread needs flour"]
    for dimension in (64, 256):
        vectors = HashEmbedder(dimension).embed(texts)
        assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.15


def test_door_knows_specs_and_ids(folder: Path) -> None:
    assert isinstance(load_embedder("hash"), HashEmbedder)
    assert load_embedder("hash-32").id == "hash-32"
    assert load_embedder("hash:32").dimension == 32
    assert isinstance(load_embedder(f"minilm:{folder}", threads=1), MiniLMEmbedder)
    with embedding_server() as server:
        server.cards = [{"id": "one"}, {"id": "org/two"}]
        opened = load_embedder(f"{server.url}#org/two", api_key="k")
        assert isinstance(opened, OpenAIEmbedder)
        opened.close()
        assert opened.id == "org/two"
        assert server.keys == ["Bearer k"]


@pytest.mark.parametrize("spec", ["", "bert", "hash-", "hash-x", "gopher://x", "minilm2"])
def test_unknown_specs_are_refused(spec: str) -> None:
    with pytest.raises(SettingsError, match=f"Unknown embedder {spec!r}: use 'minilm'"):
        load_embedder(spec)


def test_a_model_of_a_server_says_that_its_server_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"address: 'http://HOST:PORT/v1#BAAI/bge-small'"):
        load_embedder("BAAI/bge-small")


def test_hash_dimension_zero_is_refused() -> None:
    with pytest.raises(SettingsError, match="dimension >= 1, not 0"):
        load_embedder("hash-0")


def test_the_door_loads_nothing_heavy() -> None:
    code = (
        "import sys, hoptrail.rag.embedders.loading, hoptrail.rag.retrieval.retriever;"
        "print([m for m in ('onnx', 'onnxruntime', 'tokenizers', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_title_and_text_are_embedded() -> None:
    passage = Passage(id="p", document_id="d", start=0, end=4, title="Ship", text="Sank")
    assert embedding_text(passage) == "Ship\nSank"
