"""Regression thresholds of retrieval quality on the development sets: `make floors`."""
