"""Embedders: texts to L2-normalised vectors, behind one protocol."""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.embedders.caching import CachingEmbedder
    from hoptrail.rag.embedders.hashing import HashEmbedder
    from hoptrail.rag.embedders.loading import load_embedder, recorded_embedder
    from hoptrail.rag.embedders.minilm import MiniLMEmbedder
    from hoptrail.rag.embedders.openai import OpenAIEmbedder, OpenAIEmbedderSettings

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Embedder"],
        "caching": ["CachingEmbedder"],
        "hashing": ["HashEmbedder"],
        "loading": ["load_embedder", "recorded_embedder"],
        "minilm": ["MiniLMEmbedder"],
        "openai": ["OpenAIEmbedder", "OpenAIEmbedderSettings"],
    },
)

__all__ = [
    "CachingEmbedder",
    "Embedder",
    "HashEmbedder",
    "MiniLMEmbedder",
    "OpenAIEmbedder",
    "OpenAIEmbedderSettings",
    "load_embedder",
    "recorded_embedder",
]
