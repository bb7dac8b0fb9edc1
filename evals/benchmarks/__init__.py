"""Benchmarks of speed, memory and quality that anyone can run."""
