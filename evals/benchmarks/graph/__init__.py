"""Benchmark of the passage graph: recall, ablation, cost."""
