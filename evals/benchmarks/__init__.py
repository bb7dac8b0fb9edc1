"""Benchmarks of speed, memory and retrieval quality: store, passage graph, corpus tree."""
