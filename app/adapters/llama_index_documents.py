"""LlamaIndex documents and nodes, as its readers and node parsers give them, for the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.schema import BaseNode, MetadataMode

from hoptrail.rag.ingest.parsers.base import short_title
from hoptrail.rag.types import Document, Scalar

_TITLES = ("title", "file_name", "name")


def documents_of(nodes: Iterable[BaseNode]) -> list[Document]:
    """The documents to give to `KnowledgeBase.put`, one a node.

    The id is the node's, so give readers stable ones (`SimpleDirectoryReader(filename_as_id=True)`)
    or each load adds its documents anew. The title is `title`, `file_name` or `name` of the
    metadata. Of the metadata, texts, numbers and booleans are kept; a node without text is left
    out.

        kb.put(documents_of(SimpleDirectoryReader("notes", filename_as_id=True).load_data()))
    """
    return [_document(node) for node in nodes if node.get_content(MetadataMode.NONE).strip()]


def _document(node: BaseNode) -> Document:
    metadata = _scalars(node.metadata)
    title = next((metadata[key] for key in _TITLES if isinstance(metadata.get(key), str)), "")
    return Document(
        id=node.node_id,
        title=short_title(str(title)),
        text=node.get_content(MetadataMode.NONE),
        metadata=metadata,
    )


def _scalars(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        str(key): value
        for key, value in metadata.items()
        if isinstance(value, str | int | float | bool)
    }
