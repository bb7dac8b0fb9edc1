"""Benchmarks of speed, memory and quality: store, passage graph, corpus tree, verification."""
