"""A small random BERT on disk, and a BERT forward pass in plain NumPy to compare with.

The forward pass follows Devlin et al. 2019 word by word, one text at a time, without batches,
padding or masks: it shares no idea with the graph it checks.
"""

from __future__ import annotations

import json
import math
import string
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

Array = NDArray[np.float64]

LAYERS, HIDDEN, HEADS, INNER, POSITIONS = 2, 32, 4, 64, 300
_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_tiny_bert(folder: Path, seed: int = 7) -> Path:
    """Writes model.safetensors, config.json and tokenizer.json."""
    letters = string.ascii_lowercase + string.digits + "éß.,'"
    pieces = [*_MARKS, *letters, *(f"##{letter}" for letter in letters), "the", "ship", "##ing"]
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_random_weights(len(pieces), seed), folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": HIDDEN,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(
        models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As published: what the embedder must switch off.
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _random_weights(words: int, seed: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return random.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": draw(words, HIDDEN),
        "embeddings.position_embeddings.weight": draw(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": draw(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            weights[f"{name}.attention.{part}.weight"] = draw(HIDDEN, HIDDEN)
            weights[f"{name}.attention.{part}.bias"] = draw(HIDDEN)
        weights[f"{name}.intermediate.dense.weight"] = draw(INNER, HIDDEN)
        weights[f"{name}.intermediate.dense.bias"] = draw(INNER)
        weights[f"{name}.output.dense.weight"] = draw(HIDDEN, INNER)
        weights[f"{name}.output.dense.bias"] = draw(HIDDEN)
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    for name in norms:
        weights[f"{name}.weight"] = 1 + draw(HIDDEN)
        weights[f"{name}.bias"] = draw(HIDDEN)
    return weights


class NumpyBert:
    """The reference: float64, one text at a time, cut at 256 word pieces."""

    def __init__(self, folder: Path) -> None:
        self.weights = {
            name: value.astype(np.float64)
            for name, value in load_file(folder / "model.safetensors").items()
            if value.dtype == np.float32
        }
        config = json.loads((folder / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.eps = config["layer_norm_eps"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.no_padding()

    def embed(self, text: str) -> Array:
        ids = self.tokenizer.encode(text).ids
        tables = "embeddings.{}_embeddings.weight"
        x = (
            self.weights[tables.format("word")][ids]
            + self.weights[tables.format("position")][: len(ids)]
            + self.weights[tables.format("token_type")][0]
        )
        x = self._norm("embeddings.LayerNorm", x)
        for layer in range(self.layers):
            name = f"encoder.layer.{layer}"
            mixed = self._dense(f"{name}.attention.output.dense", self._attend(name, x))
            x = self._norm(f"{name}.attention.output.LayerNorm", x + mixed)
            inner = _gelu(self._dense(f"{name}.intermediate.dense", x))
            x = self._norm(
                f"{name}.output.LayerNorm", x + self._dense(f"{name}.output.dense", inner)
            )
        mean = x.mean(axis=0)
        return np.asarray(mean / np.sqrt((mean**2).sum()))

    def _attend(self, name: str, x: Array) -> Array:
        query, key, value = (
            self._dense(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value")
        )
        width = x.shape[1] // self.heads
        parts = []
        for head in range(self.heads):
            columns = slice(head * width, (head + 1) * width)
            scores = query[:, columns] @ key[:, columns].T / math.sqrt(width)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            parts.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, columns])
        return np.concatenate(parts, axis=1)

    def _dense(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self.eps)
        return np.asarray(
            centred / deviation * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        )


def _gelu(x: Array) -> Array:
    return np.asarray(x * 0.5 * (1 + _erf(x / math.sqrt(2))))


def _erf(x: Array) -> Array:
    """Abramowitz & Stegun 1964, 7.1.26: within 1.5e-7, and vectorised."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    factors = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0)
    return np.asarray(np.sign(x) * (1 - np.polyval(factors, t) * np.exp(-(x**2))))
