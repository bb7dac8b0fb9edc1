"""Benchmark of the corpus tree: score calibration, search recall, incremental insertion, scale."""
