"""Benchmark of the store: search latency, ingest throughput, crash safety."""
