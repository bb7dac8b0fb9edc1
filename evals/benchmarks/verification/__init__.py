"""Benchmark of claim verification: false claims caught and true claims kept, by kind."""
