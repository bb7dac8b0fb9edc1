"""The derived indexes, behind `LexicalIndex` and `DenseIndex` of `hoptrail.rag.protocols`."""
