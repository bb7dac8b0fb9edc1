"""Index backends: lexical (tantivy, rank_bm25) and dense (exact, chroma)."""
