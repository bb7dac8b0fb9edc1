"""Index backends: lexical (tantivy, rank_bm25) and dense (exact, chroma), and their protocols."""

from hoptrail.rag.store.indexes.base import Capabilities, DenseIndex, IndexBackend, LexicalIndex

__all__ = ["Capabilities", "DenseIndex", "IndexBackend", "LexicalIndex"]
