"""Benchmark of the store: search, ingest, crashes."""
