"""Benchmark of the planner without a model: its steps against decompositions written by people."""
