"""`load_embedder`, which opens an embedder by name, and the one that a store records."""

from __future__ import annotations

import re
from pathlib import Path

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError

DEFAULT_EMBEDDER = "minilm"

_HASH = re.compile(r"hash(?:[-:](\d{1,5}))?")


def load_embedder(
    spec: str = DEFAULT_EMBEDDER,
    *,
    api_key: str | None = None,
    threads: int | None = None,
    hub_cache: Path | None = None,
) -> Embedder:
    """Opens the embedder that a setting names.

    Args:
        spec: `minilm` (found as `find_minilm` says) or `minilm:FOLDER`; `http://HOST:PORT/v1` or
            `http://HOST:PORT/v1#MODEL` for a server; `hash` or `hash-DIMENSION` for tests.
            The ids `all-MiniLM-L6-v2` and `hash-64` are specs too.
        api_key: for a server.
        threads: of one MiniLM call; None: as many as there are cores.
        hub_cache: where the model hub keeps its files; None: its own default.

    Raises:
        SettingsError: the spec is of no known form.
        EmbedderError: the weights are not found or the server does not answer.
    """
    if match := _HASH.fullmatch(spec):
        from hoptrail.rag.embedders.hashing import HashEmbedder  # noqa: PLC0415 (loaded when used)

        return HashEmbedder(int(match[1] or 64))
    if spec.startswith(("http://", "https://")):
        from hoptrail.rag.embedders.openai import OpenAIEmbedder, OpenAIEmbedderSettings  # noqa: PLC0415

        url, mark, named = spec.partition("#")
        model = named if mark else None
        return OpenAIEmbedder(OpenAIEmbedderSettings(url=url, model=model, api_key=api_key))
    name, mark, folder = spec.partition(":")
    if name in ("minilm", "all-MiniLM-L6-v2"):
        from hoptrail.rag.embedders.minilm import MiniLMEmbedder, find_minilm  # noqa: PLC0415

        place = find_minilm(Path(folder) if mark else None, hub_cache=hub_cache)
        return MiniLMEmbedder(place, threads=threads)
    raise SettingsError(
        f"Unknown embedder {spec!r}: use 'minilm', 'minilm:FOLDER', 'http://HOST:PORT/v1#MODEL' "
        f"or 'hash-64'. A model of an embeddings server is named with its address: "
        f"'http://HOST:PORT/v1#{spec}'."
    )


def recorded_embedder(identifier: str) -> Embedder:
    """The embedder that a store records, where the record is enough to find it.

    Args:
        identifier: `StoreSpec.embedder`.

    Raises:
        SettingsError: it is a server's or a folder's, which has to be named again.
        EmbedderError: its weights are not found.
    """
    if identifier == "all-MiniLM-L6-v2" or _HASH.fullmatch(identifier):
        return load_embedder(identifier)
    if identifier.startswith("bert-"):
        raise SettingsError(
            f"The store was made with weights from a folder ({identifier!r}): name it again with "
            "--embedder-folder DIR, or embedder=load_embedder('minilm:DIR') in Python."
        )
    raise SettingsError(
        f"The store was made with the embedder {identifier!r} of a server: name the server with "
        f"--embedder http://HOST:PORT/v1#{identifier}, or embedder=load_embedder("
        f"'http://HOST:PORT/v1#{identifier}') in Python."
    )
