"""Benchmarks of the runtime: what a run keeps to when many are asked at once."""
