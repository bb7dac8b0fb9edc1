"""Benchmark of the passage graph: recall, ablation study, build and query cost."""
