"""Benchmark of the product with a real language model behind it."""
