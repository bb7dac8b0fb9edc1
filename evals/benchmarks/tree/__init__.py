"""Benchmark of the corpus tree: calibration, search, growth, scale."""
